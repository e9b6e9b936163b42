"""What a pack reports: sizes, errors and times of one archive."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from aecompress.config import Target
from aecompress.metrics import Distortion
from aecompress.spec import Array


@dataclass(frozen=True)
class Report:
    """Figures of one archive.

    Attributes:
        rows: rows packed.
        raw_bytes: bytes before.
        packed_bytes: bytes of all files of the archive.
        model_bytes: bytes of the model file among them.
        columns_bytes: bytes among them of what stands beside the array; they do not count in ``raw_bytes``.
        ratio: raw_bytes / packed_bytes; None for an empty set.
        target: what was asked for; ``target_is_default`` if nobody asked.
        bound: the greatest absolute error the target allows, if it is one number for the whole set.
        max_abs_error, rmse, psnr: over the finite values; psnr in dB relative to max - min, None where nothing differs.
        cosine: mean cosine of row and reconstruction; None unless the target is a cosine.
        bound_kept: True if every value was checked to lie within the bound; None if the target sets none.
        model: the kind of model.
        methods: blocks by the method that coded them.
        seconds: wall time of the whole pack, of which ``fit_seconds`` went into the model and ``compile_seconds`` into
            compiling loops, which the first runs on a machine wait for.
        mb_per_s: raw megabytes (10^6) a second, both left out.
        break_even_rows: the number of rows from which the model saves more than it costs against the simple way
            (quantise, delta, zstd); None if it never does, or is not known.
        tried: kinds that ``auto`` compared at a target without a bound, and the bytes that each was expected to take.
    """

    rows: int
    raw_bytes: int
    packed_bytes: int
    model_bytes: int
    columns_bytes: int
    ratio: float | None
    target: Target
    target_is_default: bool
    bound: float | None
    max_abs_error: float
    rmse: float
    psnr: float | None
    bound_kept: bool | None
    model: str
    methods: dict[str, int]
    seconds: float
    fit_seconds: float
    compile_seconds: float
    mb_per_s: float
    break_even_rows: int | None
    tried: dict[str, int] = field(default_factory=dict)
    cosine: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain object: ``target`` as ``{kind, value}``, no NaN or infinity."""
        data = asdict(self) | {"target": self.target.to_json()}
        return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in data.items()}


def break_even(model_bytes: int, payload_bytes: int, simple_bytes: int, rows: int, least: int = 0) -> int | None:
    """Rows from which model + payload is smaller than the simple way, at the set's bytes a row; no fewer than
    ``least``, those that the model codes at once."""
    saved = (simple_bytes - payload_bytes) / rows if rows else 0.0
    return max(math.ceil(model_bytes / saved), least) if saved > 0 else None


#: Points of a course that the manifest keeps.
_MOST_POINTS = 32


def course(points: Array) -> dict[str, list[float | None]]:
    """How a training went, as the manifest keeps it: losses and scores in units of the first score, no times.

    Args:
        points: float64 [n, 3], n >= 1, of an autoencoder: seconds, loss, score on rows held out.
    """
    kept = points[np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS)).astype(int)), 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = kept / points[0, 2]
    rounded = [[float(f"{v:.4g}") if math.isfinite(v) else None for v in line] for line in relative.T]
    return dict(zip(("loss", "held_out"), rounded, strict=True))


def stored(error: Distortion) -> dict[str, Any]:
    """A distortion as the manifest keeps it: no infinities."""
    data = asdict(error)
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in data.items()}


def restored(data: dict[str, Any]) -> Distortion:
    """Undo ``stored``."""
    blank = {"low": math.inf, "high": -math.inf}
    known: dict[str, Any] = {key: blank.get(key, math.inf) if v is None else v for key, v in data.items()}
    return Distortion(**known)
