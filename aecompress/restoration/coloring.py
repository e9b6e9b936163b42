"""A colourer: what colour a place of a picture has, told from the brightness around it.

Y  =  0.299    R + 0.587    G + 0.114    B
Cb = -0.168736 R - 0.331264 G + 0.5      B        chroma, as JPEG has it (JFIF 1.02); 0 is grey
Cr =  0.5      R - 0.418688 G - 0.081312 B
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.autoencoder.progress import Progress
from aecompress.devices import Device
from aecompress.errors import CorruptError, ModelError
from aecompress.normalize import Float64s
from aecompress.restoration import storage
from aecompress.restoration.fitting import Lesson, Lessons, fit_network
from aecompress.restoration.neighbourhood import around
from aecompress.restoration.network import Network
from aecompress.restoration.units import Units
from aecompress.spec import Array, as_dtype

TASK = "colorize"

#: Red, green, blue to Y, Cb, Cr, and back.
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
TO_RGB = np.linalg.inv(TO_YCC)

#: Widths of the ReLU layers.
_HIDDEN = (128, 96, 64)

#: Every so many-th picture judges and does not teach; places that tell how far to trust the network.
_STRIDE, _TRUSTED = 8, 50_000


@dataclass(frozen=True)
class Colorizer:
    """What was learned of the colours of a set of pictures.

    Attributes:
        units: of brightness.
        network: tells chroma, in units of ``spread`` from ``centre``.
        centre, spread: float64 [2], of chroma, relative to the greatest brightness.
        about: what it was fitted on, for people.
    """

    units: Units
    network: Network
    centre: Float64s
    spread: Float64s
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = (self.units.channels, self.network.channels, self.network.outputs, self.network.hood.depth)
        if sizes != (1, 1, 2, 2) or self.centre.shape != (2,) or self.spread.shape != (2,):
            raise ModelError("The colorizer's parts do not fit one another; the model is damaged.")

    def apply(self, grey: Array) -> Array:
        """Colours [n, h, w, 3] of pictures [n, h, w]: red, green and blue in the same dtype.

        Brightness stays as it is, but where a colour does not fit into the range of an integer dtype.
        """
        peak = white(grey.dtype)
        brightness = grey[None, ..., None].astype(np.float64) / peak
        known = np.isfinite(brightness)
        chroma = np.empty((grey.size, 2))
        for part, mixture in self.network.look(self.units.forward(brightness, known), known):
            chroma[part] = mixture.mean
        found = np.empty((*grey.shape, 3))
        found[..., 0] = brightness[0, ..., 0]
        found[..., 1:] = (chroma * self.spread + self.centre).reshape(*grey.shape, 2)
        return as_dtype(found @ TO_RGB.T * peak, grey.dtype)

    def to_bytes(self) -> bytes:
        """A model file."""
        tensors = {f"network.{name}": array for name, array in self.network.tensors().items()}
        tensors |= {f"units.{name}": array for name, array in self.units.tensors().items()}
        facts = {"network": self.network.settings, "about": self.about}
        return storage.to_bytes(TASK, facts, {**tensors, "centre": self.centre, "spread": self.spread})

    @classmethod
    def load(cls, path: str | Path) -> Colorizer:
        """The colorizer of a file. Raises ModelError, VersionError or CorruptError if it holds none."""
        facts, tensors = storage.read_file(path, TASK)
        try:
            network = Network.from_tensors(facts["network"], storage.under(tensors, "network."))
            units = Units.from_tensors(storage.under(tensors, "units."))
            centre, spread = (tensors[name].astype(np.float64) for name in ("centre", "spread"))
            return cls(units, network, centre, spread, dict(facts["about"]))
        except (KeyError, TypeError, ValueError, IndexError) as err:
            raise CorruptError(f"{path} does not hold a whole colorizer; fit the model again.") from err


def white(dtype: np.dtype[Any]) -> float:
    """The greatest brightness of a dtype: the greatest integer, or 1."""
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)


def brightness(pictures: Array) -> Array:
    """Y [n, h, w] of red, green and blue [n, h, w, 3], in the same dtype."""
    return as_dtype(pictures.astype(np.float64) @ TO_YCC[0], pictures.dtype)


def fit(
    blocks: Sequence[Array], *, seconds: float, seed: int, device: Device = "auto", progress: Progress
) -> Colorizer:
    """Fit a colorizer to blocks of pictures [n, h, w, 3].

    Args:
        blocks: red, green and blue.
        seconds: training time at most.
        seed: of weights and of the choice of places.
        device: to train on: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: called as ``progress(phase, done, info)``, a few times a second at most.

    Raises InputError where there is too little to learn from, or no such device.
    """
    rng = np.random.default_rng(seed)
    told = [block.astype(np.float64)[None] @ TO_YCC.T / white(block.dtype) for block in blocks]
    units = Units.of([(ycc[..., :1], np.isfinite(ycc[..., :1])) for ycc in told])
    chroma = np.concatenate([ycc[..., 1:][np.isfinite(ycc).all(-1)] for ycc in told])
    centre, spread = chroma.mean(0), np.maximum(chroma.std(0), 1e-3)

    def lesson(ycc: Array) -> Lesson:
        values, known = ycc[..., :1], np.all(np.isfinite(ycc), axis=-1)
        wanted = ((ycc[..., 1:] - centre) / spread).astype(np.float32)
        return Lesson(units.forward(values, np.isfinite(values)), np.isfinite(values), wanted, known)

    # A network knows the pictures it learned from by heart: others have to judge it.
    teaching = [lesson(mirrored(np.delete(ycc, np.s_[::_STRIDE], axis=1))) for ycc in told if ycc.shape[1] > 1]
    judges = [lesson(ycc[:, ::_STRIDE]) for ycc in told]
    hood = around(2, told[0].shape[:4], blind=False)
    lessons = Lessons(teaching or judges, hood, rng, judges)
    network = fit_network(
        lessons,
        hood,
        1,
        parts=1,
        hidden=_HIDDEN,
        seconds=seconds,
        seed=seed,
        device=device,
        progress=progress,
    )
    return Colorizer(units, network, centre, spread * _trust(network, *lessons.draw(_TRUSTED, judging=True)))


def mirrored(pictures: Array) -> Array:
    """The pictures [1, n, h, w, C], and behind them what a mirror shows of them."""
    return np.concatenate([pictures, pictures[..., ::-1, :]], axis=1)


def _trust(network: Network, inputs: Array, wanted: Array) -> Float64s:
    """Float64 [C'], 0 to 1: how far to follow the network from the mean, for the least squared error."""
    told = network.tell(inputs).mean.astype(np.float64)
    return np.clip((told * wanted).sum(0) / np.maximum(np.square(told).sum(0), 1e-12), 0.0, 1.0)
