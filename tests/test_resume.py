"""Trainings that are interrupted and go on: they end as one that was not, or say why they cannot."""

from __future__ import annotations

import copy
import errno
import itertools
import logging
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.autoencoder import Autoencoder, fit_dense, fit_textbook, progress, training
from aecompress.autoencoder.checkpoint import State
from aecompress.autoencoder.training import Rows
from aecompress.cli import cli
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.errors import DestinationError
from aecompress.normalize import Normalizer
from aecompress.recipe import Recipe
from aecompress.spec import Array
from aecompress.trainer.checkpoint import CheckpointFile
from aecompress.trainer.clock import Clock

KINDS = ["vanilla", "sparse", "denoising", "vae", "textbook"]


def curved(rows: int = 1200, row_size: int = 24) -> Array:
    """float64 rows on a bent two-dimensional surface, which no plane fits."""
    rng = np.random.default_rng(0)
    u, v = rng.uniform(-2, 2, (2, rows, 1))
    phase = np.linspace(0, 3, row_size)
    return 40 * np.sin(2 * u + phase) + 25 * np.cos(v * phase) + rng.normal(0, 0.2, (rows, row_size))


@pytest.fixture(autouse=True)
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is reported, every check saved."""
    monkeypatch.setattr(progress, "_SECONDS", 0)
    monkeypatch.setattr(training, "_SAVE_SECONDS", 0)
    monkeypatch.setattr(training, "_SAVE_PAUSE", 0)


class Listener:
    """A progress callback that takes down how far each report of a training was."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    def __call__(self, phase: str, done: float, _facts: dict[str, Any]) -> None:
        if phase == "training":
            self.heard.append(done)


class Memory:
    """A checkpoint without a file."""

    state: State | None = None

    def load(self) -> State | None:
        return self.state

    def save(self, state: State) -> None:
        self.state = copy.deepcopy(state)


def stopping(reports: int, phase: str = "training") -> Callable[[str, float, dict[str, Any]], None]:
    """A progress callback that interrupts at this report of a phase."""
    left = itertools.count(reports, -1)

    def tell(at: str, _done: float, _facts: dict[str, Any]) -> None:
        if at == phase and next(left) == 1:
            raise KeyboardInterrupt

    return tell


def silent(phase: str, done: float, facts: dict[str, Any]) -> None:
    pass


def trained(kind: str, checkpoint: Memory | None = None, tell: Callable[..., None] = silent) -> Autoencoder:
    def batches() -> Iterator[Array]:
        return iter(np.array_split(curved(), 3))

    recipe = Recipe(hidden=(32,), epochs=40)
    options = {"recipe": recipe, "seconds": 600, "seed": 1, "progress": tell, "checkpoint": checkpoint}
    if kind == "textbook":
        return fit_textbook(batches, 24, 6, **options)
    return fit_dense(batches, 24, 6, kind=kind, distortion_step=6.0, **options)


def timeless(encoder: Autoencoder) -> dict[str, bytes]:
    """All of an autoencoder but how long it took."""
    return {name: (array[:, 1:] if name == "course" else array).tobytes() for name, array in encoder.tensors().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_ends_as_one_that_was_not(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for buffer in (training._BUFFER_VALUES, 24 * 300):  # the whole source in one chunk, and in several
        monkeypatch.setattr(training, "_BUFFER_VALUES", buffer)
        calm = trained(kind)
        memory = Memory()
        for reports in (2, 60, 50, 17):
            with pytest.raises(KeyboardInterrupt):
                trained(kind, memory, stopping(reports))
        found = trained(kind, memory)
        assert timeless(found) == timeless(calm)
        assert (np.diff(found.course[:, 0]) >= 0).all()


def test_a_finished_training_is_not_repeated() -> None:
    memory, listener = Memory(), Listener()
    first = trained("vanilla", memory)
    again = trained("vanilla", memory, listener)
    assert listener.heard == [1.0]
    assert first.tensors().keys() == again.tensors().keys()
    assert all(np.array_equal(array, again.tensors()[name]) for name, array in first.tensors().items())


def test_seconds_of_earlier_runs_count() -> None:
    memory, listener = Memory(), Listener()
    with pytest.raises(KeyboardInterrupt):
        trained("vanilla", memory, stopping(60))
    assert memory.state is not None
    memory.state.facts["seconds"] = 600.0
    found = trained("vanilla", memory, listener)
    assert listener.heard == [1.0]
    assert found.course[-1, 0] >= 600


@settings(max_examples=40, deadline=None)
@given(
    heights=st.lists(st.integers(1, 700), min_size=1, max_size=8),
    capacity=st.integers(256, 2000),
    skip=st.integers(0, 40),
)
def test_minibatches_after_some_are_what_they_would_be(heights: list[int], capacity: int, skip: int) -> None:
    values = np.arange(sum(heights), dtype=np.float64)[:, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_BUFFER_VALUES", capacity)
        rows = Rows(lambda: iter(np.split(values, np.cumsum(heights)[:-1])), Normalizer(np.zeros(1), np.ones(1)))

    def some(skip: int, many: int) -> list[list[float]]:
        stream = rows.minibatches(np.random.default_rng(3), skip)
        return [minibatch.flatten().tolist() for minibatch in itertools.islice(stream, many)]

    assert some(skip, 9) == some(0, skip + 9)[skip:]


# --- fits -----------------------------------------------------------------------------------------------------------

OPTIONS: dict[str, Any] = {
    "target": Target("psnr", 25.0), "kind": "vanilla", "recipe": Recipe(epochs=20), "effort": "fast", "seconds": 600,
}  # fmt: skip


def fitted(checkpoint: Path | None, tell: Callable[..., None] = silent, **changes: Any) -> Model:
    return aecompress.fit(**{"source": curved(), "checkpoint": checkpoint, "progress": tell, **OPTIONS, **changes})


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of an interrupted fit."""
    path = tmp_path_factory.mktemp("left") / "m.training"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_SECONDS", 0)
        patch.setattr(training, "_SAVE_SECONDS", 0)
        with pytest.raises(KeyboardInterrupt):
            fitted(path, stopping(50))
    assert [file.name for file in path.parent.iterdir()] == ["m.training"]
    return path.read_bytes()


def test_an_interrupted_fit_ends_in_the_same_bytes(left: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.training"
    path.write_bytes(left)
    calm, found = fitted(None), fitted(path)
    assert found.kind == "vanilla"
    assert found.to_bytes() == calm.to_bytes()
    assert timeless(found.encoder) == timeless(calm.encoder)
    assert not list(tmp_path.iterdir())


def test_without_a_checkpoint_a_fit_starts_anew(tmp_path: Path) -> None:
    assert fitted(tmp_path / "m.training").to_bytes() == fitted(None).to_bytes()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", [Target("max-error", 3.0), Target("latent-dim", 4)], ids=Target.describe)
def test_other_targets_resume_too(target: Target, tmp_path: Path) -> None:
    path, options = tmp_path / "m.training", {"target": target, "source": curved(300), "recipe": Recipe(epochs=60)}
    with pytest.raises(KeyboardInterrupt):
        fitted(path, stopping(50), **options)
    assert path.exists()
    assert fitted(path, **options).to_bytes() == fitted(None, **options).to_bytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"target": Target("psnr", 26.0)}, "target psnr 25, not psnr 26"),
        ({"kind": "vae"}, "model vanilla, not vae"),
        ({"kind": "none", "recipe": None}, "model vanilla, not none"),
        ({"recipe": Recipe(epochs=21)}, r'settings \{"epochs": 20\}, not \{"epochs": 21\}'),
        ({"source": curved().astype(np.float32)}, "source 1200 x 24 float64, not 1200 x 24 float32"),
        ({"source": curved()[:-1]}, "source 1200 x 24 float64, not 1199 x 24 float64"),
        ({"source": curved() + 1e-3}, r"\(values \w+, not \w+\)"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused(
    left: bytes, changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.training"
    path.write_bytes(left)
    with pytest.raises(DestinationError, match=told) as caught:
        fitted(path, **changes)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == left


def test_time_and_effort_may_change(left: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.training"
    path.write_bytes(left)
    assert fitted(path, seconds=700, effort="balanced").to_bytes() == fitted(None).to_bytes()


def test_a_damaged_checkpoint_is_refused(left: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.training"
    chance = random.Random(4)
    for _ in range(60):
        changed = bytearray(left)
        bit = chance.randrange(8 * len(left))
        changed[bit // 8] ^= 1 << bit % 8
        for data in (changed, left[: chance.randrange(len(left))], left + b"\n"):
            path.write_bytes(data)
            with pytest.raises(DestinationError, match=r"m\.training is (damaged|left)"):
                CheckpointFile(path)
    path.write_bytes(left)
    assert CheckpointFile(path).load() is not None


def test_a_checkpoint_of_another_release_is_refused(
    left: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.training"
    path.write_bytes(left)
    monkeypatch.setattr("aecompress.trainer.checkpoint.VERSION", "9.9")
    with pytest.raises(DestinationError, match=r"release .*, not 9\.9"):
        CheckpointFile(path)


def test_a_fit_goes_on_where_its_checkpoint_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("aecompress.trainer.checkpoint.write_durably", full)
    with caplog.at_level(logging.WARNING):
        assert fitted(tmp_path / "m.training").to_bytes() == fitted(None).to_bytes()
    assert "m.training cannot be written (No space left on device)" in caplog.text


def test_the_clock_of_a_resumed_fit_counts_what_was_trained_before(
    left: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.training"
    path.write_bytes(left)
    advanced: list[float] = []

    class Watched(Clock):
        def advanced(self, seconds: float) -> Clock:
            advanced.append(seconds)
            return super().advanced(seconds)

    monkeypatch.setattr("aecompress.trainer.Clock", Watched)
    before = CheckpointFile(path).seconds
    fitted(path)
    assert before > 0
    assert advanced == [before]
    clock = Clock(20.0)
    assert clock.advanced(5.0).spent == pytest.approx(clock.spent + 5, abs=0.5)


# --- the command line -----------------------------------------------------------------------------------------------

FIT = """
    from aecompress.__main__ import main
    from aecompress.autoencoder import training
    training._SAVE_SECONDS = training._SAVE_PAUSE = 0
    main()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_fit_is_resumed(number: int, tmp_path: Path) -> None:
    source, model, recipe = tmp_path / "rows.npy", tmp_path / "m", tmp_path / "recipe.toml"
    checkpoint = tmp_path / "m.training"
    np.save(source, curved())
    recipe.write_text("epochs = 100\n")
    options = ["--model", "vanilla", "--psnr", "25", "--model-config", str(recipe), "--fit-seconds", "600"]
    arguments = ["fit", str(source), "-o", str(model), *options, "--effort", "fast"]

    def finish(*more: str) -> tuple[int, str]:
        found = CliRunner().invoke(cli, [*arguments, *more])
        return found.exit_code, found.output

    command = [sys.executable, "-c", textwrap.dedent(FIT), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not checkpoint.exists():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert (b"same command and --resume" in stderr) == (number != signal.SIGKILL)
    assert not model.exists()

    code, said = finish()
    assert (code, said.count("\n")) == (1, 1)
    assert "m.training is left of an interrupted fit: add --resume to go on, or --force to start again." in said
    code, said = finish("--resume", "--seed", "1")
    assert (code, said.count("\n")) == (1, 1)
    assert "seed 0, not 1" in said
    assert finish("--resume")[0] == 0
    assert not checkpoint.exists()
    resumed = aecompress.load_model(model)

    checkpoint.write_bytes(b"anything")
    assert "damaged" in finish("--resume", "--force")[1]
    assert finish("--force")[0] == 0
    assert not checkpoint.exists()
    calm = aecompress.load_model(model)
    assert resumed.identity == calm.identity
    assert timeless(resumed.encoder) == timeless(calm.encoder)
