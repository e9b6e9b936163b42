"""The xarray backend: ``xr.open_dataset("x.aec", engine="aecompress")``, decoded where it is looked at."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

import numpy as np

from aecompress.archive import Archive
from aecompress.attributes import coordinates_from_json, from_json
from aecompress.errors import AecompressError
from aecompress.locations import locate
from aecompress.shards.manifest import is_archive
from aecompress.spec import Array

try:
    from xarray import Dataset, Variable, decode_cf
    from xarray.backends import BackendArray, BackendEntrypoint
    from xarray.core import indexing
except ImportError as err:
    raise ImportError(
        "aecompress.integrations.xarray needs xarray; install it by: pip install 'aecompress[xarray]'"
    ) from err


class ArchiveEntrypoint(BackendEntrypoint):
    """Opens an archive as a data set of one variable; xarray finds it under the name ``aecompress``."""

    description = "Archives of aecompress, decoded block by block"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "mask_and_scale", "decode_times")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """True if it is the path or URL of an archive."""
        try:
            return isinstance(filename_or_obj, str | PathLike) and is_archive(locate(filename_or_obj))
        except AecompressError:  # a URL of another kind, or a store that does not answer
            return False

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        decode_times: bool = True,
    ) -> Dataset:
        """A lazy variable, named as the array was in its container, else ``values``.

        Its dimensions are those that the container named, else ``row``, ``dim_1``, ``dim_2``, ...; chunks of a block
        each are preferred. Attributes and coordinates of the container are there too, and are decoded as xarray
        decodes those of a NetCDF file, unless told otherwise.

        Raises:
            ArchiveError: it is not an archive.
        """
        archive = Archive(filename_or_obj)
        name, dimensions = _name(archive), _dimensions(archive)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        if name in dropped:
            return Dataset()
        chunks = dict(zip(dimensions, (archive.manifest.block_rows, *archive.shape[1:]), strict=True))
        lazy = indexing.LazilyIndexedArray(ArchiveArray(archive))
        said = archive.manifest.origin
        variable = Variable(dimensions, lazy, from_json(said.get("attributes")), {"preferred_chunks": chunks})
        named = coordinates_from_json(said, list(dimensions), archive.shape)
        beside = {key: Variable(c.dimensions, c.values, c.attributes) for key, c in named.items() if key not in dropped}
        found = Dataset({name: variable, **beside}, attrs=from_json(said.get("file_attributes")))
        decoded = decode_cf(found, mask_and_scale=mask_and_scale, decode_times=decode_times)
        return decoded.set_coords([key for key in beside if key in decoded])


class ArchiveArray(BackendArray):
    """An archive as xarray indexes it: an integer, a slice or a list an axis, each on its own."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.shape, self.dtype = archive, archive.shape, archive.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[Any, ...]) -> Array:
        """Rows are picked while decoding, lists of other axes afterwards."""
        rows, *others = key
        found = self.archive[rows, *(slice(None) if isinstance(item, np.ndarray) else item for item in others)]
        kept = [item for item in others if not isinstance(item, int)]
        for axis, item in enumerate(kept, start=found.ndim - len(kept)):
            if isinstance(item, np.ndarray):
                found = np.take(found, item, axis)
        return found


def _name(archive: Archive) -> str:
    member = archive.manifest.origin.get("member")
    return member.rpartition("/")[2] or "values" if isinstance(member, str) else "values"


def _dimensions(archive: Archive) -> tuple[str, ...]:
    named = archive.manifest.origin.get("dimensions")
    if isinstance(named, list) and len(named) == len(set(map(str, named))) == archive.ndim:
        return tuple(map(str, named))
    return ("row", *(f"dim_{axis}" for axis in range(1, archive.ndim)))
