"""Denoise: noisy rows in, clean rows out.

source ─► blocks that teach ─► Denoiser          source ─► blocks, and what is around them ─► Denoiser.apply ─► sink
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.config import Progress, silent
from aecompress.devices import Device, check_device
from aecompress.errors import InputError
from aecompress.inputs import Beside, replayable
from aecompress.metrics import Distortion, distortion
from aecompress.restoration import denoising
from aecompress.restoration.denoising import Denoiser
from aecompress.restoration.sampling import block_rows, read, teaching_rows, windows
from aecompress.sinks import open_sink
from aecompress.sources.base import Source


@dataclass(frozen=True)
class Denoised:
    """What denoising did.

    Attributes:
        rows: written.
        noise: standard deviation of the noise that was reckoned with; None for a model that saw clean data.
        removed: root mean square of what was taken away, over the finite values; both are in the data's units.
    """

    rows: int
    noise: float | None
    removed: float


def denoise(
    source: Any,
    dest: str | Path,
    *,
    model: str | Path | Denoiser | None = None,
    clean: Any = None,
    noise: float | None = None,
    force: bool = False,
    seconds: float = 60.0,
    seed: int = 0,
    device: Device = "auto",
    progress: Progress = silent,
) -> Denoised:
    """Take the noise off a source: pictures, series or fields, of the same dtype and shape as they came.

    Without ``model`` and ``clean`` it learns from the noisy rows alone. That rests on the noise being independent from
    value to value, of mean zero and of one standard deviation.

    Args:
        source: an archive, or any source as for ``pack``.
        dest: a path, or ``-`` for npy on standard output; formats are those of ``unpack``. Tables get the columns
            beside the rows too.
        model: of ``fit_denoiser``, or the path of its file; by default one is fitted to the source.
        clean: a source of the first rows without noise, to learn from.
        noise: standard deviation of the noise, in the data's units; by default it is measured.
        force: replace a file that is there.
        seconds: training time at most.
        seed: of everything random.
        device: that the network is trained on; see ``fit``.
        progress: called as progress(phase, share done, facts).

    Raises:
        InputError: the source cannot be used, or holds too little to learn from, or there is no such device.
        ModelError: the model is for other rows.
        DestinationError: ``dest`` exists or cannot be written.
    """
    if model is not None and clean is not None:
        raise InputError("A model has learned already; give clean rows or a model, not both.")
    with ExitStack() as stack:
        opened = stack.enter_context(replayable(source))
        _check(opened, noise)
        columns = None if opened.columns is None else opened.columns.schema
        sink = open_sink(dest, opened.spec, opened.origin, columns=columns, force=force)
        stack.callback(sink.abort)
        beside = Beside(opened, sink)
        if model is None:
            fitted = fit_denoiser(
                opened, clean=clean, noise=noise, seconds=seconds, seed=seed, device=device, progress=progress
            )
        else:
            fitted = model if isinstance(model, Denoiser) else Denoiser.load(model)
            fitted = fitted if noise is None else fitted.with_noise(noise)
        removed, done = Distortion(), 0
        batches = opened.batches(block_rows(opened.spec, 2 * fitted.reach))
        for rows, part in windows(batches, fitted.reach):
            found = fitted.apply(rows)[part]
            sink.write(found, beside.take(len(found)))
            removed += distortion(rows[part], found)
            done += len(found)
            progress("denoise", done / opened.spec.shape[0], {"bytes": done * opened.spec.row_bytes})
        sink.commit()
    return Denoised(done, fitted.noise, removed.rmse)


def fit_denoiser(
    source: Any,
    *,
    clean: Any = None,
    noise: float | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    device: Device = "auto",
    progress: Progress = silent,
) -> Denoiser:
    """Learn to take the noise off a source; ``apply`` of the result takes batches, ``to_bytes`` gives a file.

    Arguments and errors are those of ``denoise``.
    """
    check_device(device)
    with ExitStack() as stack:
        opened = stack.enter_context(replayable(source))
        _check(opened, noise)
        pairs = None if clean is None else stack.enter_context(replayable(clean))
        rows = opened.spec.shape[0] if pairs is None else _paired(opened, pairs, noise)
        stretches = teaching_rows(opened, rows)
        blocks = read(opened, stretches, progress)
        if not blocks:
            raise InputError(f"{opened.name} holds no values to learn from.")
        told = None if pairs is None else read(pairs, stretches, progress)
    fitted = denoising.fit(blocks, told, noise=noise, seconds=seconds, seed=seed, device=device, progress=progress)
    fitted.about.update(source=opened.name, rows=rows, shape=list(opened.spec.row_shape))
    return fitted


def _check(source: Source, noise: float | None) -> None:
    if source.spec.dtype.kind == "b":
        raise InputError(f"{source.name} holds true and false, of which no mean can be taken; convert it to numbers.")
    if noise is not None and not (math.isfinite(noise) and noise >= 0):
        raise InputError(f"The noise is {noise:g}; give its standard deviation, 0 or more, in the data's units.")


def _paired(source: Source, clean: Source, noise: float | None) -> int:
    """Rows of which there is a clean version."""
    if noise is not None:
        raise InputError("Clean rows tell what the noise is; leave the noise out.")
    if clean.spec.row_shape != source.spec.row_shape or clean.spec.shape[0] > source.spec.shape[0]:
        raise InputError(
            f"The clean rows are {clean.spec.describe()}, the noisy ones {source.spec.describe()}; give the clean "
            "version of the first rows, as many as there are."
        )
    if not np.can_cast(clean.spec.dtype, np.float64, "same_kind"):
        raise InputError(f"{clean.name} holds {clean.spec.dtype}; give numbers.")
    return clean.spec.shape[0]
