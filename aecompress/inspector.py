"""Info: what an archive says of itself, without decoding anything."""

from __future__ import annotations

from typing import Any

from aecompress.figures import restored
from aecompress.locations import Where, locate
from aecompress.shards.manifest import read_manifest
from aecompress.shards.reader import archive_bytes


def info(archive: Where) -> dict[str, Any]:
    """Figures of an archive from its manifest; plain numbers and strings, fit for JSON.

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
        "created_by": manifest.created_by,
    }
