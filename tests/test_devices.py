"""Where networks are trained: names of devices, and the same work on each of them."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import aot_eager

import aecompress
from aecompress import Recipe, Target, devices
from aecompress.autoencoder import fit_dense, fit_textbook, integer, strided, training
from aecompress.autoencoder.conv import Lesson, fit_conv
from aecompress.autoencoder.learners.criteria import criterion, sigmoid_error
from aecompress.autoencoder.learners.denoising import Denoising, corruption
from aecompress.autoencoder.learners.sparse import Sparse
from aecompress.autoencoder.learners.textbook import Textbook
from aecompress.autoencoder.learners.vae import Variational
from aecompress.autoencoder.learners.vanilla import Vanilla
from aecompress.autoencoder.network import run
from aecompress.autoencoder.pca import fit_pca
from aecompress.autoencoder.strided import fit_strided
from aecompress.cli import cli
from aecompress.config import silent
from aecompress.devices import check_device, find_device, seeded
from aecompress.errors import InputError, VerificationError
from aecompress.metrics import distortion
from aecompress.normalize import Normalizer, measure
from aecompress.trainer import bounded

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture
def machine(monkeypatch):
    """Make torch see these accelerators and no others."""

    def has(*names):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)

    return has


def curved(rows=400):
    """Rows [n, 24] of three hidden numbers that no linear map finds."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(rows, 3))
    return np.tanh(hidden @ rng.normal(size=(3, 24))) + 0.01 * rng.normal(size=(rows, 24))


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "found"), [((), "cpu"), (("cuda",), "cuda"), (("mps",), "mps"), (("cuda", "mps"), "cuda")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(machine, here, found):
    machine(*here)
    assert find_device("auto").type == found


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_refused(machine, name):
    machine()
    with pytest.raises(InputError, match=rf"no {name.upper()} device here .*use --device cpu or auto"):
        find_device(name)
    machine(name)
    assert find_device(name).type == name


def test_an_unknown_device_is_refused_with_a_list_of_those_there_are():
    with pytest.raises(InputError, match=r"'tpu'; use one of auto, cpu, cuda, mps"):
        check_device("tpu")


@pytest.mark.parametrize("verb", ["fit", "pack", "denoise", "embed"])
def test_verbs_refuse_a_device_that_is_not_here(machine, verb, tmp_path):
    machine()
    np.save(tmp_path / "rows.npy", curved())
    dest = tmp_path / "found.npy"
    found = CliRunner().invoke(cli, [verb, str(tmp_path / "rows.npy"), "-o", str(dest), "--device", "cuda"])
    assert found.exit_code == 1
    assert "There is no CUDA device here (torch sees none): use --device cpu or auto." in found.output
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]


def test_functions_refuse_a_device_that_is_not_here(machine, tmp_path):
    machine()
    for work in (
        lambda: aecompress.fit(curved(), device="cuda"),
        lambda: aecompress.pack(curved(), tmp_path / "a", device="cuda"),
        lambda: aecompress.fit_denoiser(curved(), device="cuda"),
        lambda: aecompress.fit_colorizer(np.zeros((4, 8, 8, 3)), device="cuda"),
        lambda: aecompress.embed(curved(), tmp_path / "a.npy", device="cuda"),
    ):
        with pytest.raises(InputError, match="no CUDA device"):
            work()


def test_every_task_of_fit_takes_a_device(tmp_path):
    np.save(tmp_path / "rows.npy", curved().astype(np.float32))
    options = ["--task", "denoise", "--device", "cpu", "--fit-seconds", "0.1", "-o", str(tmp_path / "model")]
    assert CliRunner().invoke(cli, ["fit", str(tmp_path / "rows.npy"), *options]).exit_code == 0


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_fit_without_networks_does_not_load_torch(device):
    code = (
        "import sys, numpy as np, aecompress; x = np.arange(4000.0).reshape(100, 40);"
        f"aecompress.fit(x, kind='none', effort='fast', device={device!r}); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


# --- random numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, on_cuda])])
def test_seeded_numbers_are_the_same_each_time_and_disturb_no_others(device):
    place = torch.device(device)

    def draw():
        return torch.rand(4, device=place).tolist()

    torch.manual_seed(5)
    others = [draw(), draw()]
    torch.manual_seed(5)
    first = draw()
    with seeded(1, place):
        inside = draw()
    assert [first, draw()] == others
    with seeded(1, place):
        assert draw() == inside


# --- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 1.5, 24)])
@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "cosine"])
@pytest.mark.parametrize("kind", ["vanilla", "sparse", "gaussian", "masking", "salt-and-pepper", "vae", "textbook"])
def test_learners_leave_nothing_on_the_cpu(kind, loss, weights):
    """The device ``meta`` has no numbers, but refuses what lies elsewhere, as accelerators do."""
    rows = curved()
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(24, 4)))[0]
    normalizer = Normalizer.standard(measure([rows], 24))
    parts = (basis, np.ones(4), (8, 8), 0.1, criterion(loss, 0.1, normalizer, weights))
    learner = {
        "vanilla": lambda: Vanilla(*parts),
        "sparse": lambda: Sparse(*parts, sparsity=0.5, k=2),
        "vae": lambda: Variational(*parts, beta=1.0),
        "textbook": lambda: Textbook(24, (8,), 4, sigmoid_error(loss, weights)),
    }.get(kind, lambda: Denoising(*parts, corruption=corruption(kind, 0.2, torch.from_numpy(rows).float())))()
    lost = learner.to("meta").loss(torch.empty(50, 24, device="meta"))
    lost.backward()
    assert lost.device.type == "meta"


def dense(kind, device, checkpoint=None):
    told = {"seconds": 600.0, "seed": 0, "progress": silent, "device": device, "recipe": Recipe(epochs=40)}
    told["checkpoint"] = checkpoint
    if kind == "textbook":
        return fit_textbook(lambda: iter([curved()]), 24, 4, **told)
    return fit_dense(lambda: iter([curved()]), 24, 4, kind=kind, distortion_step=0.05, **told)


@pytest.fixture
def compiling(monkeypatch):
    """Compile on the CPU as on CUDA, by the backend given; the list tells of each graph."""

    def by(backend):
        graphs = []

        def counted(graph, inputs):
            graphs.append(graph)
            return backend(graph, inputs)

        torch.compiler.reset()
        monkeypatch.setattr(devices, "_COMPILED", ("cpu",))
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counted))
        return graphs

    return by


@pytest.mark.parametrize("kind", ["vanilla", "sparse", "denoising", "vae", "textbook"])
def test_what_is_compiled_learns_what_is_not(compiling, kind):
    expected = dense(kind, "cpu")
    graphs = compiling(aot_eager)
    found = dense(kind, "cpu")
    assert graphs
    assert found.kind == kind
    np.testing.assert_allclose(found.course[:, 1:], expected.course[:, 1:], rtol=1e-3)


def test_what_is_compiled_learns_pictures(compiling):
    blocks = [np.random.default_rng(0).normal(size=(20, 64, 64)).cumsum(1).cumsum(2)]
    told = {"seed": 0, "device": "cpu", "progress": silent}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strided, "_STEPS", 20)
        expected = fit_strided(blocks, 1.0, seconds=1e6, **told)
        graphs = compiling(aot_eager)
        found = fit_strided(blocks, 1.0, seconds=1e6, **told)
    assert graphs
    np.testing.assert_allclose(found.analysis(blocks[0]), expected.analysis(blocks[0]), rtol=1e-3, atol=1e-3)


def test_a_compiled_training_goes_on_after_an_interruption(compiling):
    class Kept:
        state = None

        def load(self):
            return self.state

        def save(self, state):
            self.state = copy.deepcopy(state)
            if not state.facts["over"]:
                raise KeyboardInterrupt

    graphs = compiling(aot_eager)
    whole, kept = dense("vanilla", "cpu"), Kept()
    assert graphs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_SAVE_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            dense("vanilla", "cpu", kept)
    assert not any("_orig_mod" in name for name in kept.state.tensors)
    found = dense("vanilla", "cpu", kept)
    np.testing.assert_allclose(found.course[:, 1:], whole.course[:, 1:], rtol=1e-5)


@pytest.mark.parametrize("side", ["forward", "backward"])
def test_what_cannot_be_compiled_runs_as_it_is(compiling, caplog, side):
    def broken(*_):
        raise RuntimeError("no compiler")

    ways = {"fw_compiler": lambda graph, *_: make_boxed_func(graph.forward), "bw_compiler": broken}
    graphs = compiling(broken if side == "forward" else aot_autograd(**ways))
    found = dense("vanilla", "cpu")
    assert graphs
    assert caplog.text.count("torch cannot compile for cpu, so learning takes longer: ") == 1
    assert "no compiler" in caplog.text
    assert found.course[:, 2].min() < found.course[0, 2]


def test_short_trainings_are_not_compiled(compiling):
    graphs = compiling(aot_eager)
    fit_dense(lambda: iter([curved()]), 24, 4, distortion_step=0.05, seconds=1.0, seed=0, device="cpu", progress=silent)
    assert graphs == []


@pytest.mark.gpu
@on_cuda
@pytest.mark.parametrize("kind", ["vanilla", "sparse", "denoising", "vae", "textbook"])
def test_cuda_learns_about_what_the_cpu_learns(kind):
    here, there = dense(kind, "cpu"), dense(kind, "cuda")
    assert there.kind == kind
    assert there.course[0, 2] == pytest.approx(here.course[0, 2], rel=1e-3), "both begin alike"
    assert there.course[:, 2].min() == pytest.approx(here.course[:, 2].min(), rel=0.1)


@pytest.mark.gpu
@on_cuda
def test_cuda_trains_convolutions():
    rng = np.random.default_rng(0)
    values = np.cumsum(np.cumsum(rng.normal(size=(40, 64, 64)), axis=1), axis=2) / 8
    q = np.rint(values).astype(np.int64)
    keep = np.ones(q.shape, bool)
    assert fit_conv([Lesson(q, keep, values)], seconds=2.0, seed=0, device="cuda", progress=silent) is not None


@pytest.mark.gpu
@on_cuda
def test_what_cuda_learned_keeps_the_bound(tmp_path):
    rows = curved(2000).astype(np.float32)
    report = aecompress.pack(rows, tmp_path / "a", model="vanilla", target=Target("max-error", 1e-2), device="cuda")
    assert report.bound_kept
    assert np.abs(aecompress.open(tmp_path / "a")[:] - rows).max() <= 1e-2


def test_without_accelerators_auto_learns_what_the_cpu_learns(machine):
    machine()
    found, expected = dense("vanilla", "auto").tensors(), dense("vanilla", "cpu").tensors()
    assert found.keys() == expected.keys()
    for name in found.keys() - {"course"}:  # which tells the time
        np.testing.assert_array_equal(found[name], expected[name])


# --- coding -------------------------------------------------------------------------------------------------------

# the CPU by a name that takes the way of accelerators
BY_TORCH = "cpu:0"


@pytest.mark.parametrize("kind", ["pca", "vanilla", "sparse", "denoising", "vae", "textbook"])
def test_torch_computes_the_paths_that_numpy_does(kind):
    rows = curved()
    encoder = fit_pca(lambda: iter([rows]), 24, 4, seed=0, progress=silent) if kind == "pca" else dense(kind, "cpu")
    latents = encoder.analysis(rows)
    np.testing.assert_allclose(encoder.analysis(rows, BY_TORCH), latents, rtol=1e-4, atol=1e-4)
    here, there = (run(encoder.decoder, latents, device) for device in ("cpu", BY_TORCH))
    assert here.dtype == there.dtype
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("target", "method"), [(Target("latent-dim", 4), "autoencoder"), (Target("max-error", 0.02), "joint")]
)
def test_what_a_device_coded_the_cpu_decodes(monkeypatch, target, method):
    monkeypatch.setattr(bounded, "_GAIN", np.inf)  # keep the autoencoder
    rows = curved(4000).astype(np.float32)
    model = replace(aecompress.fit(rows, target, kind="pca", effort="fast", device="cpu"), context=None)
    coded = replace(model, device=BY_TORCH).code(rows)
    decoded = aecompress.Model.from_bytes(model.to_bytes()).decompress(coded.payload)
    assert coded.method == method
    assert coded.distortion == distortion(rows, decoded)
    assert len(coded.payload) == pytest.approx(len(model.compress(rows)), rel=1e-3)
    if target.bounded:
        assert np.abs(decoded - rows).max() <= target.value


def test_a_device_that_miscalculates_is_found_out(monkeypatch):
    rows = curved().astype(np.float32)
    model = aecompress.fit(rows, Target("latent-dim", 4), kind="pca", effort="fast", device="cpu")
    monkeypatch.setattr(integer, "upload", lambda array, **_: torch.from_numpy(array + 1))
    with pytest.raises(VerificationError, match="did not decode to what was encoded"):
        replace(model, device=BY_TORCH).code(rows)


@pytest.mark.parametrize(("name", "uploads"), [("cuda", {"cuda"}), ("auto", set()), ("cpu", set())])
def test_cuda_codes_if_it_is_named(machine, monkeypatch, tmp_path, name, uploads):
    machine("cuda")
    seen = []
    monkeypatch.setattr(devices, "move", lambda tensor, place: seen.append(place.type) or tensor)
    rows = curved().astype(np.float32)
    aecompress.pack(rows, tmp_path / "a", model="pca", target=Target("latent-dim", 4), effort="fast", device=name)
    assert set(seen) == uploads


@pytest.mark.gpu
@on_cuda
def test_what_cuda_coded_the_cpu_verifies(tmp_path):
    rows = curved(4000).astype(np.float32)
    target = Target("latent-dim", 4)
    report = aecompress.pack(rows, tmp_path / "a", model="pca", target=target, effort="fast", device="cuda")
    assert report.methods == {"autoencoder": 1}
    assert aecompress.verify(tmp_path / "a", against=rows)["rows"] == 4000
