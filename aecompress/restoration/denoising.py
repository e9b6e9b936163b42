"""A denoiser: blind to each value while it guesses it from its surroundings, and then weighing guess and value.

    seen = clean + noise        guess: what the surroundings say of ``seen``        answer: mean of clean given both

The noise is independent from value to value, of mean zero and of one standard deviation a channel; nothing else needs
to be known, and no clean data (Noise2Self, Batson and Royer 2019; the weighing is that of Laine et al. 2019). A
denoiser that was shown clean data sees the value itself, too, and gives its answer at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.autoencoder.progress import Progress
from aecompress.context.stencil import Layout, axes_of, layouts
from aecompress.devices import Device
from aecompress.errors import CorruptError, InputError, ModelError
from aecompress.restoration import storage
from aecompress.restoration.fitting import Lesson, Lessons, fit_network, ridge
from aecompress.restoration.neighbourhood import Neighbourhood, around
from aecompress.restoration.network import Mixture, Network, deviation_of
from aecompress.restoration.units import Units
from aecompress.spec import Array, as_dtype

TASK = "denoise"

#: Distributions in a mixture, widths of the ReLU layers.
_PARTS, _HIDDEN = 3, (64, 64, 64)

#: Most channels that are looked at together, positions that layouts are compared on, and blocks they come from.
_CHANNELS, _TRIAL, _TRIAL_BLOCKS = 8, 20_000, 2

#: A more complicated layout has to be better by this share.
_EARNS = 0.005

#: Positions that the noise is measured on.
_MEASURED = 60_000


@dataclass(frozen=True)
class Denoiser:
    """What was learned of a set and its noise.

    Attributes:
        layout: how blocks are read, ``axes`` the number of their axes, rows included, those of length one left out.
        units: of the channels.
        network: tells what values should be.
        noise: standard deviation of the noise, in the data's units; None if the network saw clean data.
        about: what it was fitted on, for people.
    """

    layout: Layout
    axes: int
    units: Units
    network: Network
    noise: float | None
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        channels = self.units.channels
        if self.noise is not None and not 0 <= self.noise < math.inf:
            raise ModelError("The noise of the denoiser is no number; the model is damaged.")
        if (self.network.channels, self.network.outputs) != (channels, channels):
            raise ModelError("The denoiser's network does not fit its channels; the model is damaged.")

    @property
    def reach(self) -> int:
        """Rows before and after a row that it looks at; 0 if rows are independent."""
        if self.layout.depth < self.axes - self.layout.channels:
            return 0
        return self.network.hood.reach[4 - self.layout.depth]

    def with_noise(self, deviation: float) -> Denoiser:
        """The same for noise of this standard deviation, in the data's units. Raises ModelError for one of pairs."""
        if self.noise is None:
            raise ModelError("The model was fitted with clean data and knows its noise; leave the noise out.")
        return replace(self, noise=deviation)

    def apply(self, rows: Array) -> Array:
        """Denoise rows [n, *row_shape]: the same shape and dtype.

        NaN, infinities and integers beyond 2^53 apart, what comes back is the mean of what the value may have been;
        integers are rounded and stay within their dtype. Raises ModelError for rows of another kind.
        """
        block, known = self._block(rows)
        turned = self.units.forward(block, known)
        change = np.empty(turned.shape, np.float64).reshape(-1, self.units.channels)
        seen = turned.reshape(change.shape)
        for part, mixture in self.network.look(turned, known):
            change[part] = self._answer(mixture, seen[part]) - seen[part]
        moved = self.units.difference(change).reshape(rows.shape)
        found = as_dtype(rows.astype(np.float64) + moved, rows.dtype)
        return np.where(known.reshape(rows.shape), found, rows)

    def _answer(self, mixture: Mixture, seen: Array) -> Array:
        return mixture.mean if self.noise is None else mixture.posterior(seen, self.units.noise(self.noise))

    def _block(self, rows: Array) -> tuple[Array, Array]:
        """(values, known) on canonical axes."""
        axes = axes_of(rows.shape)
        channels = axes[-1] if self.layout.channels and len(axes) > 1 else 1
        if len(axes) != self.axes or channels != self.units.channels:
            raise ModelError(
                f"The model was fitted to rows of {self.axes - 1} axes"
                + (f" with {self.units.channels} channels" if self.layout.channels else "")
                + f", not to rows of {' x '.join(map(str, rows.shape[1:])) or 'single values'}; fit another."
            )
        return canonical(rows, self.layout)

    def to_bytes(self) -> bytes:
        """A model file."""
        facts = {
            "layout": {"depth": self.layout.depth, "channels": self.layout.channels},
            "axes": self.axes,
            "noise": self.noise,
            "network": self.network.settings,
            "about": self.about,
        }
        tensors = {f"network.{name}": array for name, array in self.network.tensors().items()}
        tensors |= {f"units.{name}": array for name, array in self.units.tensors().items()}
        return storage.to_bytes(TASK, facts, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Denoiser:
        """The denoiser of a file. Raises ModelError, VersionError or CorruptError if it holds none."""
        facts, tensors = storage.read_file(path, TASK)
        try:
            layout = Layout(int(facts["layout"]["depth"]), bool(facts["layout"]["channels"]))
            network = Network.from_tensors(facts["network"], storage.under(tensors, "network."))
            units = Units.from_tensors(storage.under(tensors, "units."))
            noise = None if facts["noise"] is None else float(facts["noise"])
            return cls(layout, int(facts["axes"]), units, network, noise, dict(facts["about"]))
        except (KeyError, TypeError, ValueError, IndexError) as err:
            raise CorruptError(f"{path} does not hold a whole denoiser; fit the model again.") from err


def fit(
    blocks: Sequence[Array],
    clean: Sequence[Array] | None,
    *,
    noise: float | None,
    seconds: float,
    seed: int,
    device: Device = "auto",
    progress: Progress,
) -> Denoiser:
    """Fit a denoiser to blocks of rows [n, *row_shape], and to what they were without noise if that is known.

    Args:
        blocks: noisy rows.
        clean: the same rows without noise, or None.
        noise: standard deviation of the noise in the data's units; by default it is measured.
        seconds: training time at most.
        seed: of weights and of the choice of places.
        device: to train on: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: called as ``progress(phase, done, info)``, a few times a second at most.

    Raises InputError where there is too little to learn from, or no such device.
    """
    rng = np.random.default_rng(seed)
    layout = choose_layout(blocks, rng)
    units, lessons, hood = _lessons(blocks, clean, layout, rng)
    network = fit_network(
        lessons,
        hood,
        units.channels,
        parts=_PARTS if clean is None else 1,
        hidden=_HIDDEN,
        seconds=seconds,
        seed=seed,
        device=device,
        progress=progress,
    )
    if clean is None and noise is None:
        noise = _measured(network, units, *lessons.draw(_MEASURED))
    return Denoiser(layout, len(axes_of(blocks[0].shape)), units, network, noise)


def _measured(network: Network, units: Units, inputs: Array, seen: Array) -> float:
    """Standard deviation of the noise, by the channel where the network is surest: what is left there is noise."""
    return float((deviation_of(network.tell(inputs), seen) / units.noise(1.0)).min())


def choose_layout(blocks: Sequence[Array], rng: np.random.Generator) -> Layout:
    """The layout in which the surroundings tell most of a value.

    Judged is the best linear guess: a value seen with noise of variance n and guessed with covariance S, noise
    included, is known to within n - n^2 / S, so what counts is the mean of the diagonal of S^-1.
    """
    few = blocks[:: max(1, len(blocks) // _TRIAL_BLOCKS)][:_TRIAL_BLOCKS]
    best, most = None, -math.inf
    for layout in layouts(blocks[0].shape):
        if layout.channels and axes_of(blocks[0].shape)[-1] > _CHANNELS:
            continue
        units, lessons, _ = _lessons(few, None, layout, rng)
        _, left = ridge(*lessons.draw(_TRIAL))
        spread = units.rotation * units.scale[:, None]
        precision = float(np.diag(np.linalg.pinv(spread @ left @ spread.T)).mean())
        if precision > most * (1 + _EARNS):
            best, most = layout, precision
    return best or Layout(1, False)


def canonical(rows: Array, layout: Layout) -> tuple[Array, Array]:
    """(values, known) [A, B, H, W, C] of rows [n, ...]."""
    values = rows.reshape(layout.canonical(rows.shape))
    return values, np.isfinite(values)


def _lessons(
    blocks: Sequence[Array], clean: Sequence[Array] | None, layout: Layout, rng: np.random.Generator
) -> tuple[Units, Lessons, Neighbourhood]:
    seen = [canonical(block, layout) for block in blocks]
    wanted = seen if clean is None else [canonical(block, layout) for block in clean]
    if not any(known.all(-1).any() for _, known in seen):
        raise InputError("There are no finite values to learn from; give other data, or a model.")
    units = Units.of(seen)
    found = [
        Lesson(
            units.forward(values, known),
            known,
            units.forward(told, told_known),
            np.all(known & told_known, axis=-1),
        )
        for (values, known), (told, told_known) in zip(seen, wanted, strict=True)
    ]
    lengths = seen[0][0].shape[:4]
    hood = around(layout.depth, lengths, blind=clean is None)
    return units, Lessons(found, hood, rng), hood
