"""Sample: new rows, drawn from the prior of a ``vae`` as an archive or a model file holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aecompress.archive import Archive
from aecompress.codec.model import Model
from aecompress.errors import InputError
from aecompress.packer import load_model
from aecompress.pictures import png, sheet
from aecompress.shards.durable import write_durably
from aecompress.sinks import open_sink
from aecompress.sinks.base import check_free, storage_errors
from aecompress.spec import Array, ArraySpec

#: Most rows of a draw: they are held in memory at once.
MOST_ROWS = 1 << 20


def sample(model: str | Path | Model | Archive, rows: int = 16, *, seed: int = 0) -> Array:
    """Draw rows that were never seen from a ``vae``.

    Args:
        model: an archive or the file of a model, by its path, or either of them opened.
        rows: how many.
        seed: of the draw; the same seed gives the same rows everywhere.

    Returns:
        [rows, *row_shape] of the dtype that was packed.

    Raises:
        InputError: the model is no ``vae``, or the number of rows makes no sense.
        ArchiveError, ModelError: nothing can be read there.
    """
    if not 1 <= rows <= MOST_ROWS:
        raise InputError(f"{rows} rows were asked for; it must be 1 to {MOST_ROWS:,}.")
    found = _opened(model)
    if found.kind != "vae" or found.prior is None:
        raise InputError(
            f"Only a vae has a prior that new rows can be drawn from, and this model is {found.kind}: fit or pack with "
            "--model vae."
        )
    return found.sample(rows, np.random.default_rng(seed))


def write_sample(
    model: str | Path | Model | Archive, dest: str | Path, rows: int = 16, *, seed: int = 0, force: bool = False
) -> None:
    """The same into a file: a sheet of pictures if it ends in ``.png``, else an array in any format of ``unpack``.

    Raises:
        InputError: as ``sample``, or the rows are no pictures.
        DestinationError: the file exists already, or cannot be written.
    """
    path = Path(dest)
    if path.suffix.lower() == ".png":
        check_free(path, force=force)
        picture = png(sheet(sample(model, rows, seed=seed)))
        with storage_errors(path):
            write_durably(path, picture)
        return
    drawn = sample(model, rows, seed=seed)
    sink = open_sink(dest, ArraySpec(drawn.dtype, drawn.shape[1:], rows), {}, force=force)
    try:
        sink.write(drawn)
        sink.commit()
    finally:
        sink.abort()


def _opened(model: str | Path | Model | Archive) -> Model:
    if isinstance(model, Model):
        return model
    if isinstance(model, Archive):
        return model.model
    return Archive(model).model if Path(model).is_dir() else load_model(model)
