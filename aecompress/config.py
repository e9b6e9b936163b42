"""Frozen settings: the target a user names, and how the work is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from aecompress.errors import InputError

TargetKind = Literal["max-error", "rel-error", "psnr", "rmse", "cosine", "ratio", "lossless", "latent-dim"]
ModelKind = Literal["auto", "none", "conv", "strided", "pca", "vanilla", "sparse", "denoising", "vae", "textbook"]

Effort = Literal["fast", "balanced", "best"]

#: What an axis of a source is: entries that have nothing to do with each other, neighbours that resemble each other,
#: or features without an order.
Role = Literal["independent", "ordered", "feature"]

ROLES: tuple[str, ...] = get_args(Role)

EFFORTS: tuple[str, ...] = get_args(Effort)

MODEL_KINDS: tuple[str, ...] = get_args(ModelKind)

#: Time that a fit may take unless told otherwise.
FIT_SECONDS = 90.0


@dataclass(frozen=True)
class Target:
    """What the user asked for: a bound, a quality, a size, or no loss at all.

    Attributes:
        kind: ``max-error`` (absolute bound on every value), ``rel-error`` (bound relative to max - min over the
            finite values of the whole source), ``psnr`` (dB, peak = max - min), ``rmse``, ``cosine`` (mean over the
            rows of the cosine between a row and what it comes back as), ``ratio`` (raw bytes over all archive bytes),
            ``lossless``, ``latent-dim`` (number of latents, no bound).
        value: the number that goes with it; None for ``lossless``.
        per: with ``rel-error``, the axis whose every index gets a bound of its own range.
    """

    kind: TargetKind
    value: float | None = None
    per: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(TargetKind):
            raise InputError(f"Unknown target {self.kind!r}; use one of {', '.join(get_args(TargetKind))}.")
        if self.per is not None and self.kind != "rel-error":
            raise InputError("A bound per axis (--per) goes with --rel-error only.")
        if self.kind == "lossless":
            if self.value is not None:
                raise InputError("The lossless target takes no value.")
            return
        if self.value is None or not math.isfinite(self.value):
            raise InputError(f"The {self.kind} target needs a finite number, not {self.value}.")
        if self.kind in ("max-error", "rel-error") and self.value < 0:
            raise InputError(f"The {self.kind} bound is {self.value:g}; it must be 0 or more.")
        if self.kind == "latent-dim" and (self.value < 1 or self.value != int(self.value)):
            raise InputError(f"The number of latents is {self.value:g}; it must be a whole number of 1 or more.")
        if self.kind == "cosine" and not 0 < self.value < 1:
            raise InputError(f"The cosine target is {self.value:g}; it must be greater than 0 and less than 1.")
        if self.kind in ("psnr", "rmse", "ratio") and self.value <= 0:
            raise InputError(f"The {self.kind} target is {self.value:g}; it must be greater than 0.")

    @property
    def bounded(self) -> bool:
        """True if every value is kept within a bound."""
        return self.kind in ("max-error", "rel-error", "lossless")

    @classmethod
    def default(cls, dtype: np.dtype[Any]) -> Target:
        """``rel-error 1e-3`` for floats, lossless for integers and bool."""
        return cls("rel-error", 1e-3) if dtype.kind == "f" else cls("lossless")

    def describe(self) -> str:
        """For people: ``rel-error 0.001 per axis 1``."""
        words: list[str] = [self.kind]
        if self.value is not None:
            words.append(f"{self.value:g}")
        if self.per is not None:
            words.append(f"per axis {self.per}")
        return " ".join(words)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"kind": self.kind, "value": self.value}
        if self.per is not None:
            data["per"] = self.per
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Target:
        return cls(data["kind"], data["value"], data.get("per"))


#: progress(phase, share done 0..1, facts to show)
Progress = Callable[[str, float, dict[str, Any]], None]


def silent(_phase: str, _done: float, _facts: dict[str, Any]) -> None:
    """The default progress: none."""
