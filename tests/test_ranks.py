"""Processes that fit one model together, as torchrun starts them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import aecompress
from aecompress import ranks
from aecompress.errors import InputError
from aecompress.ranks import together

LEARN = """
import sys, torch
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
    torch.manual_seed(0 if ranks.is_first() else 1)
    learner = Textbook(12, (8,), 4, sigmoid_error("mse"))
    ranks.agree(learner)
    assert ranks.agreed(float(ranks.is_first())) == 1.0
    course = train(learner, Lessons(), recipe=Recipe(epochs=20 * ranks.count()), seconds=1e6, seed=0,
                   device=torch.device("cpu"), report=Throttle(silent))
    assert course.improved
    torch.save([part.detach() for part in learner.parameters()], f"{sys.argv[1]}/{ranks.count()}{ranks.is_first()}")
"""


def run(*command, launched=True):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if launched else []
    return subprocess.run([sys.executable, *launcher, *map(str, command)], capture_output=True, text=True, check=True)


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


def test_alone_there_is_one_rank_that_has_all():
    with together("cpu"):
        assert (ranks.count(), ranks.is_first(), ranks.agreed(2.5), list(ranks.own("abc"))) == (1, True, 2.5, [*"abc"])


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_more_processes_than_devices_are_refused(monkeypatch, kind):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(InputError, match="fewer devices than processes"), together(kind):
        pass
