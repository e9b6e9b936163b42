"""Colorize: grey pictures in, coloured ones out.

source in colour ─► blocks that teach ─► Colorizer          grey source ─► blocks ─► Colorizer.apply ─► sink
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.config import Progress, silent
from aecompress.devices import Device, check_device
from aecompress.errors import InputError
from aecompress.inputs import Beside, replayable
from aecompress.restoration import coloring
from aecompress.restoration.coloring import Colorizer
from aecompress.restoration.sampling import block_rows, read, teaching_rows
from aecompress.sinks import open_sink
from aecompress.spec import ArraySpec


def colorize(
    source: Any,
    dest: str | Path,
    *,
    model: str | Path | Colorizer,
    force: bool = False,
    progress: Progress = silent,
) -> int:
    """Give grey pictures the colours that a model expects of them, and write red, green and blue.

    Args:
        source: an archive, or any source as for ``pack``; rows are pictures [h, w] or [h, w, 1].
        dest: a path, or ``-`` for npy on standard output; formats are those of ``unpack``. Rows are [h, w, 3] of the
            source's dtype; floats count from 0, black, to 1, white. Tables get the columns beside the rows too.
        model: of ``fit_colorizer``, or the path of its file.
        force: replace a file that is there.
        progress: called as progress(phase, share done, facts).

    Returns:
        The number of pictures written.

    Raises:
        InputError: the source holds no grey pictures.
        ModelError: the model is none.
        DestinationError: ``dest`` exists or cannot be written.
    """
    fitted = model if isinstance(model, Colorizer) else Colorizer.load(model)
    with ExitStack() as stack:
        opened = stack.enter_context(replayable(source))
        height, width = _grey(opened.spec, opened.name)
        spec = ArraySpec(opened.spec.dtype, (height, width, 3), opened.spec.rows)
        columns = None if opened.columns is None else opened.columns.schema
        sink = open_sink(dest, spec, _without_table(opened.origin), columns=columns, force=force)
        stack.callback(sink.abort)
        beside = Beside(opened, sink)
        done = 0
        for rows in opened.batches(block_rows(spec)):
            sink.write(fitted.apply(rows.reshape(-1, height, width)), beside.take(len(rows)))
            done += len(rows)
            progress("colorize", done / opened.spec.shape[0], {"bytes": done * opened.spec.row_bytes})
        sink.commit()
    return done


def fit_colorizer(
    source: Any, *, seconds: float = 60.0, seed: int = 0, device: Device = "auto", progress: Progress = silent
) -> Colorizer:
    """Learn what colours a set of pictures has; ``apply`` of the result takes batches, ``to_bytes`` gives a file.

    Args:
        source: an archive, or any source as for ``pack``; rows are pictures [h, w, 3], red, green and blue; floats
            count from 0 to 1.
        seconds: training time at most.
        seed: of everything random.
        device: that the network is trained on; see ``fit``.
        progress: called as progress(phase, share done, facts).

    Raises InputError where the source holds no pictures in colour, or too few, or where there is no such device.
    """
    check_device(device)
    with ExitStack() as stack:
        opened = stack.enter_context(replayable(source))
        shape, dtype = opened.spec.row_shape, opened.spec.dtype
        if len(shape) != 3 or shape[2] != 3 or dtype.kind == "b":
            raise InputError(
                f"{opened.name} holds {opened.spec.describe()}; give pictures in colour, n x height x width x 3."
            )
        blocks = read(opened, teaching_rows(opened, opened.spec.shape[0]), progress)
    if not any(np.isfinite(block).all(-1).any() for block in blocks):
        raise InputError(f"{opened.name} holds no colours to learn from.")
    fitted = coloring.fit(blocks, seconds=seconds, seed=seed, device=device, progress=progress)
    fitted.about.update(source=opened.name, rows=opened.spec.shape[0], shape=list(shape))
    return fitted


def _without_table(origin: dict[str, Any]) -> dict[str, Any]:
    """The origin without the columns that held grey pictures: those in colour are of another shape."""
    return {name: value for name, value in origin.items() if name not in ("schema", "array")}


def _grey(spec: ArraySpec, name: str) -> tuple[int, int]:
    """Height and width of grey pictures."""
    shape = spec.row_shape[:2] if spec.row_shape[2:] == (1,) else spec.row_shape
    if len(shape) != 2 or spec.dtype.kind == "b":
        raise InputError(f"{name} holds {spec.describe()}; give grey pictures, n x height x width.")
    return shape[0], shape[1]
