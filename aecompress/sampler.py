"""Sample: new rows, drawn from the prior of a ``vae`` as an archive or a model file holds it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aecompress.archive import Archive
from aecompress.codec.model import Model
from aecompress.config import Progress, silent
from aecompress.errors import InputError
from aecompress.packer import load_model
from aecompress.pictures import png, sheet
from aecompress.shards.durable import write_durably
from aecompress.sinks import open_sink
from aecompress.sinks.base import check_free, storage_errors
from aecompress.spec import Array
from aecompress.trainer import block_rows

#: Most rows of an array or a sheet: they are held in memory at once. Files of arrays have no such limit.
MOST_ROWS = 1 << 20


def sample(model: str | Path | Model | Archive, rows: int = 16, *, seed: int = 0, progress: Progress = silent) -> Array:
    """Draw rows that were never seen from a ``vae``.

    Args:
        model: an archive or the file of a model, by its path, or either of them opened.
        rows: how many.
        seed: of the draw; the same seed gives the same rows everywhere.
        progress: called as progress(phase, share done, facts).

    Returns:
        [rows, *row_shape] of the dtype that was packed.

    Raises:
        InputError: the model is no ``vae``, or the number of rows makes no sense.
        ArchiveError, ModelError: nothing can be read there.
    """
    if rows > MOST_ROWS:
        raise InputError(f"{rows} rows were asked for; an array or a sheet has {MOST_ROWS:,} at most.")
    return np.concatenate(list(_drawn(_vae(model, rows), rows, seed, progress)))


def write_sample(
    model: str | Path | Model | Archive,
    dest: str | Path,
    rows: int = 16,
    *,
    seed: int = 0,
    force: bool = False,
    progress: Progress = silent,
) -> None:
    """The same into a file: a sheet of pictures if it ends in ``.png``, else an array in any format of ``unpack``.

    Raises:
        InputError: as ``sample``, or the rows are no pictures.
        DestinationError: the file exists already, or cannot be written.
    """
    path = Path(dest)
    if path.suffix.lower() == ".png":
        check_free(path, force=force)
        picture = png(sheet(sample(model, rows, seed=seed, progress=progress)))
        with storage_errors(path):
            write_durably(path, picture)
        return
    found = _vae(model, rows)
    sink = open_sink(dest, found.spec.with_rows(rows), {}, force=force)
    try:
        for batch in _drawn(found, rows, seed, progress):
            sink.write(batch)
        sink.commit()
    finally:
        sink.abort()


def _vae(model: str | Path | Model | Archive, rows: int) -> Model:
    """The model, once it is clear that so many rows can be drawn from it."""
    if rows < 1:
        raise InputError(f"{rows} rows were asked for; ask for 1 or more.")
    found = _opened(model)
    if found.kind != "vae" or found.prior is None:
        raise InputError(
            f"Only a vae has a prior that new rows can be drawn from, and this model is {found.kind}: fit or pack with "
            "--model vae."
        )
    return found


def _drawn(model: Model, rows: int, seed: int, progress: Progress) -> Iterator[Array]:
    """Rows as they are drawn, some at a time."""
    rng, height = np.random.default_rng(seed), block_rows(model.spec)
    for start in range(0, rows, height):
        batch = model.sample(min(height, rows - start), rng)
        yield batch
        progress("sample", (start + len(batch)) / rows, {})


def _opened(model: str | Path | Model | Archive) -> Model:
    if isinstance(model, Model):
        return model
    if isinstance(model, Archive):
        return model.model
    return Archive(model).model if Path(model).is_dir() else load_model(model)
