"""Processes that fit one model together, as torchrun starts them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import aecompress
from aecompress import ranks
from aecompress.cli import cli
from aecompress.errors import AecompressError, InputError
from aecompress.ranks import together
from aecompress.sources import open_source, spool

LEARN = """
import sys, torch, weakref
from aecompress import ranks
from aecompress.autoencoder.learners.criteria import sigmoid_error
from aecompress.autoencoder.learners.textbook import Textbook
from aecompress.autoencoder.progress import Throttle
from aecompress.autoencoder.training import train
from aecompress.config import silent
from aecompress.recipe import Recipe

rows = torch.rand(512, 12, generator=torch.Generator().manual_seed(0))

class Lessons:
    count, held_out = 512, rows[:64]
    def minibatches(self, rng):
        while True:
            yield from rows.split(256 // ranks.count())

with ranks.together("cpu"):
    group = weakref.ref(torch.distributed.group.WORLD) if ranks.count() > 1 else lambda: None
    torch.manual_seed(0 if ranks.is_first() else 1)
    learner = Textbook(12, (8,), 4, sigmoid_error("mse"))
    ranks.agree(learner)
    assert ranks.agreed(float(ranks.is_first())) == 1.0
    course = train(learner, Lessons(), recipe=Recipe(epochs=20 * ranks.count()), seconds=1e6, seed=0,
                   device=torch.device("cpu"), report=Throttle(silent))
    assert course.improved
    torch.save([part.detach() for part in learner.parameters()], f"{sys.argv[1]}/{ranks.count()}{ranks.is_first()}")
assert group() is None, "The group's threads outlive it and may abort the interpreter's end."
"""

PACK = """
import json, sys
import numpy as np
import aecompress
from aecompress import ranks

rows = np.random.default_rng(0).normal(size=(300, 8)).cumsum(0)
with ranks.together("cpu"):
    reports = [aecompress.pack(rows, sys.argv[1] + "/a", model="none", effort="fast", resume=True) for _ in range(2)]
    with open(f"{sys.argv[1]}/{ranks.is_first()}", "w") as file:
        json.dump([report.to_json() for report in reports], file)
"""


def run(*command, launched=True):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if launched else []
    found = subprocess.run([sys.executable, *launcher, *map(str, command)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found


def test_two_ranks_learn_what_one_learns_from_minibatches_of_twice_the_size(tmp_path):
    script = tmp_path / "learn.py"
    script.write_text(LEARN)
    run(script, tmp_path, launched=False)
    run(script, tmp_path)
    one, first, second = (torch.load(tmp_path / name) for name in ("1True", "2True", "2False"))
    for alone, part, other in zip(one, first, second, strict=True):
        torch.testing.assert_close(part, other, rtol=0, atol=0)
        torch.testing.assert_close(part, alone, rtol=1e-5, atol=1e-6)


def test_one_rank_writes_the_model_of_all(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.tanh(rng.normal(size=(400, 3)) @ rng.normal(size=(3, 24))).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    options = ["--model", "vanilla", "--latent-dim", 4, "--fit-seconds", 2, "--device", "cpu"]
    found = run("-m", "aecompress", "fit", tmp_path / "rows.npy", "-o", tmp_path / "model", *options)
    assert found.stdout.count("fitted to") == 1
    assert aecompress.load_model(tmp_path / "model").encoder.latent_dim == 4


def test_one_rank_packs_by_the_model_of_all(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.tanh(rng.normal(size=(400, 3)) @ rng.normal(size=(3, 24))).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "settings.toml").write_text("epochs = 40\n")
    options = ["--model", "sparse", "--model-config", tmp_path / "settings.toml", "--latent-dim", 4]
    options += ["--fit-seconds", 600, "--device", "cpu", "--json"]
    found = run("-m", "aecompress", "-v", "pack", tmp_path / "rows.npy", "-o", tmp_path / "a", *options)
    report = json.loads(found.stdout)
    assert (report["model"], report["rows"]) == ("sparse", 400)
    assert found.stderr.count("packing ") == 1
    assert aecompress.verify(tmp_path / "a", against=tmp_path / "rows.npy")["rows"] == 400


def test_every_rank_has_the_report_of_a_pack(tmp_path):
    script = tmp_path / "pack.py"
    script.write_text(PACK)
    run(script, tmp_path)
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("True", "False"))
    assert first == second
    assert first[0]["packed_bytes"] == first[1]["packed_bytes"]


def test_verbs_that_ranks_cannot_share_are_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = CliRunner().invoke(cli, ["denoise", "rows.npy", "-o", "clean.npy"])
    assert found.exit_code == 2
    assert "torchrun is for fit and pack: fit a model with it, and start denoise without." in found.output


@pytest.fixture
def second_of_two():
    token = ranks._RANK.set((1, 2))
    yield
    ranks._RANK.reset(token)


@pytest.mark.usefixtures("second_of_two")
def test_ranks_share_no_stream(tmp_path):
    with pytest.raises(InputError, match="save it to a file first"):
        spool(open_source(iter([np.zeros((2, 3))])), tmp_path)


@pytest.mark.usefixtures("second_of_two")
def test_a_rank_that_hears_no_more_of_the_first_says_so(monkeypatch):
    def broken(*_):
        raise RuntimeError("Connection reset by peer")

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broken)
    with pytest.raises(AecompressError, match="first process ended before its time"):
        ranks.told(None)


def test_alone_there_is_one_rank_that_has_all():
    with together("cpu"):
        assert (ranks.count(), ranks.is_first(), list(ranks.own("abc"))) == (1, True, [*"abc"])
        assert (ranks.agreed(2.5), ranks.told("word")) == (2.5, "word")


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_more_processes_than_devices_are_refused(monkeypatch, kind):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(InputError, match="fewer devices than processes"), together(kind):
        pass
