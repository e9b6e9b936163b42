"""Roles of axes that the user names instead of having them measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import aecompress
from aecompress.cli import cli
from aecompress.config import Role, Target
from aecompress.context import fit as fitting
from aecompress.context.stencil import Layout
from aecompress.errors import InputError
from aecompress.spec import Array, ArraySpec
from aecompress.trainer import smooth
from aecompress.trainer.roles import layout_of, ordered

LOSSLESS = Target("lossless")


def changing() -> Array:
    """int16 [240, 200]: each line is like the one before, but for the first and those in the middle, where trials look:
    these wander by themselves."""
    rng = np.random.default_rng(5)
    lines = rng.integers(-2, 3, (80, 200)).cumsum(1)
    like = rng.integers(-500, 500, 200) + rng.integers(-2, 3, (160, 200)).cumsum(0)
    return np.concatenate([lines[:25], like[:70], lines[25:], like[70:]]).astype(np.int16)


def test_named_axes_help_where_trials_mislead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fitting, "TRIAL_VALUES", 4_000)
    sizes = {}
    for axes in (None, ("ordered", "ordered")):
        settings = {"model": "none", "axes": axes}
        report = aecompress.pack(changing(), tmp_path / str(axes), target=LOSSLESS, **settings)
        sizes[axes] = report.packed_bytes
        assert np.array_equal(aecompress.open(tmp_path / str(axes))[:], changing())
    assert sizes["ordered", "ordered"] < 0.9 * sizes[None]


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        (("ordered",), (9,), Layout(1, False)),
        (("independent", "ordered"), (9, 8), Layout(1, False)),
        (("ordered", "ordered"), (9, 8), Layout(2, False)),
        (("ordered", "feature"), (9, 8), Layout(1, True)),
        (("independent", "feature"), (9, 8), Layout(1, True)),
        (("independent", "ordered", "ordered"), (9, 8, 7), Layout(2, False)),
        (("ordered", "ordered", "ordered", "feature"), (9, 8, 7, 3), Layout(3, True)),
        (("ordered", "ordered", "feature"), (9, 8, 1), Layout(2, False)),
        (("ordered", "feature"), (1, 1), Layout(1, False)),
    ],
)
def test_roles_ask_for_a_layout(axes: tuple[Role, ...], shape: tuple[int, ...], expected: Layout) -> None:
    assert layout_of(axes, ArraySpec(np.dtype("f4"), shape[1:], shape[0])) == expected


@pytest.mark.parametrize(
    ("axes", "shape", "words"),
    [
        (("ordered",), (9, 8), "1 roles do not fit .*: name 2"),
        (("time", "ordered"), (9, 8), "no role 'time'"),
        (("feature", "ordered"), (9, 8), "Only the last axis"),
        (("ordered", "independent"), (9, 8), "Independent axes come before"),
        (("independent", "independent"), (9, 8), "call one ordered"),
        (("ordered", "feature"), (9, 600), "600 entries are too many"),
        (("ordered",) * 5, (2, 2, 2, 2, 2), "At most 4"),
    ],
)
def test_roles_that_cannot_be_followed_are_refused(axes: tuple[Role, ...], shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        aecompress.fit(np.zeros(shape), axes=axes)


def test_transforms_run_along_ordered_axes_only() -> None:
    spec = ArraySpec(np.dtype("f4"), (1, 40, 50), 20)
    assert ordered(("independent", "independent", "ordered", "ordered"), spec) == (False, True, True)
    assert smooth.suits((20, 40, 50), None)
    assert smooth.suits((20, 40, 50), (False, True, True))
    assert smooth.suits((20, 40, 50), (False, False, True))  # lines
    assert not smooth.suits((20, 40, 50), (True, False, False))  # of twenty
    assert smooth.suits((20, 40, 3), (True, True, False))  # planes of the first two axes, three of them


def test_a_fitted_model_has_its_axes(tmp_path: Path) -> None:
    model = aecompress.fit(changing()[:20], LOSSLESS, kind="none", effort="fast")
    with pytest.raises(InputError, match="Roles of axes"):
        aecompress.pack(changing(), tmp_path / "a", model=model, axes=("ordered", "ordered"))


def test_axes_on_the_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", changing()[:50])
    shared = ["pack", str(tmp_path / "x.npy"), "-o", str(tmp_path / "a"), "--effort", "fast", "--axes"]
    assert "'row' is none of" in CliRunner().invoke(cli, [*shared, "row,ordered"]).output
    assert CliRunner().invoke(cli, [*shared, "ordered,feature"]).exit_code == 0
    subbands = aecompress.open(tmp_path / "a").model.subbands
    assert subbands is not None
    assert subbands.of_lines
    assert subbands.order[-1] == 0
