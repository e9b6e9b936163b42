"""Info: what an archive says of itself, without decoding any of its rows."""

from __future__ import annotations

from typing import Any

from aecompress.errors import DestinationError
from aecompress.figures import restored
from aecompress.locations import Location, Where, locate
from aecompress.shards.manifest import Manifest, read_manifest
from aecompress.shards.reader import archive_bytes


def info(archive: Where) -> dict[str, Any]:
    """Figures of an archive from its manifest, and formulas from its model; plain numbers and strings, fit for JSON.

    Raises:
        ArchiveError: it is not an archive, or an unfinished, damaged or newer one.
    """
    path = locate(archive)
    manifest = read_manifest(path)
    spec, packed = manifest.spec, archive_bytes(path)
    error = restored(manifest.report["distortion"])
    return {
        "archive": str(path),
        "rows": spec.rows,
        "row_shape": list(spec.row_shape),
        "dtype": spec.dtype.str,
        "source_format": manifest.origin.get("format"),
        "target": manifest.target.to_json(),
        "model": manifest.report["model"],
        "methods": manifest.report["methods"],
        "raw_bytes": spec.raw_bytes,
        "packed_bytes": packed,
        "model_bytes": manifest.model.bytes if manifest.model else 0,
        "columns": list(manifest.columns),
        "columns_bytes": manifest.columns_bytes,
        "ratio": spec.raw_bytes / packed if spec.raw_bytes else None,
        "max_abs_error": error.max_abs,
        "rmse": error.rmse,
        "psnr": error.psnr,
        "cosine": manifest.report.get("cosine"),
        "parts": len(manifest.fragments),
        "blocks": sum(fragment.blocks for fragment in manifest.fragments),
        "block_rows": manifest.block_rows,
        "computed": _computed(path, manifest),
        "created_by": manifest.created_by,
    }


def _computed(path: Location, manifest: Manifest) -> dict[str, str]:
    """Formulas that columns are expected by, by the columns' names."""
    if not manifest.report.get("computed"):
        return {}
    from aecompress.archive import Archive  # with its loops and Arrow it takes longer to load than all else
    from aecompress.codec.formulas import formulas
    from aecompress.sinks.columns import column_names

    try:
        names = column_names(manifest.spec, manifest.origin)
    except DestinationError:  # numbers will do
        names = ()
    return formulas(Archive(path).model, names)
