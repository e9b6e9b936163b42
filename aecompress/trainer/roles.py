"""Roles of the axes of a source, where the user names them instead of having them measured.

Independent axes come first: nothing is looked up along them. Along ordered ones neighbours resemble each other. The
last axis may hold features: each has a coder of its own, which looks at those before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from aecompress.config import ROLES
from aecompress.context.stencil import Layout, layouts
from aecompress.errors import InputError
from aecompress.spec import ArraySpec

#: Most axes that are looked along.
_MOST_ORDERED = 4


def layout_of(axes: Sequence[str], spec: ArraySpec) -> Layout:
    """The layout that roles of all axes, rows first, ask for.

    Raises InputError if they do not fit the source, or no coder can follow them.
    """
    _check(axes, spec)
    long = [role for role, size in zip(axes, spec.shape, strict=True) if size != 1] or ["ordered"]
    features = long[-1] == "feature" and len(long) > 1
    # each feature picks the neighbours that help it, so rows need no order to be looked at
    layout = Layout(max(1, long.count("ordered")), features)
    if features and layout not in layouts(spec.shape):
        raise InputError(f"{spec.shape[-1]} entries are too many for an axis of features here: call that axis ordered.")
    return layout


def ordered(axes: Sequence[str], spec: ArraySpec) -> tuple[bool, ...]:
    """Which of the row axis and the inner axes longer than 1 are ordered."""
    kept = [True, *(size != 1 for size in spec.row_shape)]
    return tuple(role == "ordered" for role, keep in zip(axes, kept, strict=True) if keep)


def _check(axes: Sequence[str], spec: ArraySpec) -> None:
    if unknown := [role for role in axes if role not in ROLES]:
        raise InputError(f"There is no role {unknown[0]!r} of an axis; use {', '.join(ROLES[:-1])} or {ROLES[-1]}.")
    if len(axes) != len(spec.shape):
        raise InputError(
            f"{len(axes)} roles do not fit {spec.describe()}: name {len(spec.shape)}, one for each axis, rows first."
        )
    if "feature" in axes[:-1]:
        raise InputError(
            "Only the last axis can be feature: move that axis of the source to the end, or call it ordered."
        )
    inner = axes[:-1] if axes[-1] == "feature" else axes
    if sorted(inner) != list(inner):  # the alphabet has them in the order they must have
        raise InputError("Independent axes come before ordered ones: move them to the front of the source.")
    if not {"ordered", "feature"} & set(axes):
        raise InputError("All axes are called independent, which leaves nothing to learn from: call one ordered.")
    if list(axes).count("ordered") > _MOST_ORDERED:
        raise InputError(f"At most {_MOST_ORDERED} axes can be ordered: call the first ones independent.")
