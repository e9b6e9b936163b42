"""How an autoencoder is built and taught: what ``--model-config FILE.toml`` may say.

    latents = 64
    hidden = [256, 256]
    loss = "huber"
    learning_rate = 1e-3
    epochs = 40

Which settings a kind knows stands in ``KNOWN``; anything else is refused by a sentence.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from aecompress.errors import InputError

_TRAINED = frozenset({"latents", "hidden", "loss", "weights", "learning_rate", "epochs"})

#: Settings that each kind knows; kinds that are not here take none.
KNOWN: dict[str, frozenset[str]] = {
    "pca": frozenset({"latents"}),
    "vanilla": _TRAINED,
    "sparse": _TRAINED | {"k", "sparsity"},
    "denoising": _TRAINED | {"corruption", "corruption_level"},
    "vae": _TRAINED | {"beta"},
    "textbook": _TRAINED,
}

LOSSES = ("mse", "l1", "huber", "bce", "cosine")
CORRUPTIONS = ("gaussian", "masking", "salt-and-pepper")


@dataclass(frozen=True)
class Recipe:
    """Settings of one autoencoder.

    Attributes:
        latents: their number; None lets the target decide.
        hidden: widths of the synthesis network's hidden layers, the analysis has them in reverse; None lets the number
            of rows decide.
        loss: what is minimised beside the rate: ``mse``, ``l1``, ``huber`` (quadratic up to the latents' step),
            ``cosine`` (1 - cosine of row and reconstruction), or ``bce`` (binary cross entropy, ``textbook`` only:
            it needs outputs of a sigmoid).
        weights: what an error counts in the loss, for each entry of a row's last axis (its channels); only their ratios
            matter. None: all alike. Not for ``cosine``.
        learning_rate: Adam's, at its greatest.
        epochs: passes over the rows at most; None lets the time decide.
        k: latents of a row that may differ from zero, those of the greatest magnitude (``sparse``); None: all.
        sparsity: bits that a step of magnitude counts (``sparse``): an L1 penalty beside the rate.
        corruption: what the input suffers (``denoising``): ``gaussian``, ``masking`` or ``salt-and-pepper``.
        corruption_level: deviation of the noise in those of the values, or share of the values hit.
        beta: weight of the divergence from the prior (``vae``); 1 is what the target's step asks for.
    """

    latents: int | None = None
    hidden: tuple[int, ...] | None = None
    loss: str = "mse"
    weights: tuple[float, ...] | None = None
    learning_rate: float = 2e-3
    epochs: int | None = None
    k: int | None = None
    sparsity: float = 0.5
    corruption: str = "gaussian"
    corruption_level: float = 0.25
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name in ("latents", "epochs", "k"):
            _check(name, getattr(self, name), 1, 1 << 20)
        for width in self.hidden or ():
            _check("a width in hidden", width, 1, 1 << 14)
        if self.hidden is not None and not 1 <= len(self.hidden) <= 8:
            raise InputError(f"The setting hidden names {len(self.hidden)} layers; name 1 to 8.")
        for weight in self.weights or ():
            _check("a weight in weights", weight, 1e-6, 1e6)
        _check("learning_rate", self.learning_rate, 1e-7, 1.0)
        _check("sparsity", self.sparsity, 0.0, 1e3)
        _check("beta", self.beta, 1e-6, 1e6)
        _check("corruption_level", self.corruption_level, 0.0, 1.0 if self.corruption != "gaussian" else 1e3)
        for name, allowed in (("loss", LOSSES), ("corruption", CORRUPTIONS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"The setting {name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}.")

    @property
    def changed(self) -> dict[str, Any]:
        """Settings that are not the default, as plain JSON."""
        default = asdict(Recipe())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def checked(self, kind: str) -> Recipe:
        """The same, if ``kind`` knows all that was set. Raises InputError, which says why, if it does not."""
        known = KNOWN.get(kind, frozenset())
        for name in self.changed:
            if not known:
                raise InputError(
                    f"The model {kind} takes no settings; name one of {', '.join(KNOWN)} with --model to set {name}."
                )
            if name not in known:
                users = ", ".join(other for other, names in KNOWN.items() if name in names)
                raise InputError(f"The model {kind} has no setting {name}; it goes with {users}.")
        if self.loss == "bce" and kind != "textbook":
            raise InputError(
                f"The loss bce needs outputs between 0 and 1, which the sigmoid of the model textbook gives; {kind} "
                "has none: use mse, l1, huber or cosine."
            )
        if self.loss == "cosine" and kind == "textbook":
            raise InputError("The model textbook brings rows to 0 ... 1, where cosines mean nothing: use vanilla.")
        if self.loss == "cosine" and self.weights is not None:
            raise InputError("The loss cosine is of whole rows, of which no entry has a weight: use mse, l1 or huber.")
        return self


def load_recipe(path: str | Path) -> Recipe:
    """The settings of a TOML file. Raises InputError if it cannot be read or says what no recipe may."""
    try:
        return recipe_of(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err.strerror or err}.") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise InputError(f"{path} is not a TOML file: {err}.") from err


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """The recipe of plain settings. Raises InputError for unknown names and wrong types."""
    types = {field.name: str(field.type) for field in fields(Recipe)}
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in types:
            raise InputError(f"There is no setting {name}; use {', '.join(types)}.")
        found[name] = _converted(name, value, types[name])
    return replace(Recipe(), **found)


def _converted(name: str, value: Any, wanted: str) -> Any:
    if wanted.startswith("tuple[int"):
        if isinstance(value, list) and all(map(_is_whole, value)):
            return tuple(value)
        raise InputError(f"The setting {name} must be a list of whole numbers, not {value!r}.")
    if wanted.startswith("tuple[float"):
        if isinstance(value, list) and all(map(_is_number, value)):
            return tuple(map(float, value))
        raise InputError(f"The setting {name} must be a list of numbers, not {value!r}.")
    if wanted.startswith("int"):
        if _is_whole(value):
            return value
        raise InputError(f"The setting {name} must be a whole number, not {value!r}.")
    if wanted == "float":
        if _is_number(value):
            return float(value)
        raise InputError(f"The setting {name} must be a number, not {value!r}.")
    if isinstance(value, str):
        return value
    raise InputError(f"The setting {name} must be a text, not {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and not isinstance(value, float)


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"The setting {name} is {value:g}; it must be {low:g} to {high:g}.")
