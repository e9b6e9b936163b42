# ruff: noqa: E402 - the harness can be imported only once its place and its own requirements are known
"""The benchmark harness on tiny arrays: every peer gives back what it says, and the tables say what was measured."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aecompress.config import Target
from aecompress.errors import InputError

pytest.importorskip("imagecodecs")
pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

sys.path.insert(0, str(Path(__file__).parents[1]))  # the harness is not installed with the package

from aecompress.entropy.tokens import fold, unfold
from aecompress.peers import Peer, installed
from aecompress.peers.frames import Frames
from aecompress.peers.lattice import Lattice
from aecompress.peers.layouts import MAX_PARTS, layouts
from aecompress.peers.lossless import shuffle, unshuffle
from aecompress.peers.trial import Trial, measure_peer, measure_quality, measure_variant, same_special_values
from benchmarks import anomalies, data, family, kill, memory, neighbours, results, run, soak, speed, suite, table
from benchmarks.command import aecompress, write_synthetic
from benchmarks.plot import curves, plot

PEERS = installed()


def smooth(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A field whose neighbours resemble each other, 0 to 200 for integers."""
    grid = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    field = np.sin(sum(grid)) + 0.05 * np.random.default_rng(1).standard_normal(shape)
    if np.dtype(dtype).kind == "f":
        return field.astype(dtype)
    return np.clip(100 + 80 * field, 0, 200).astype(dtype)


FIELDS = [
    ("f4", 0.01, {"sz3", "sperr", "zfp", "quantize+delta+zstd", "quantize+pcodec"}),
    ("f8", 0.01, {"sz3", "sperr", "zfp", "quantize+delta+zstd", "quantize+pcodec"}),
    ("f4", 0.0, {"zstd-19", "pcodec"}),
    ("u1", 3.0, {"sz3", "sperr", "zfp", "quantize+delta+zstd", "quantize+pcodec", "jpegls"}),
    ("i4", 3.0, {"sz3", "sperr", "zfp", "quantize+delta+zstd", "quantize+pcodec"}),
    (
        "u1",
        0.0,
        {
            "quantize+delta+zstd",
            "quantize+pcodec",
            "zstd-19",
            "pcodec",
            "jpegxl lossless",
            "jpegls",
            "webp lossless",
        },
    ),
    ("i2", 0.0, {"quantize+delta+zstd", "quantize+pcodec", "zstd-19", "pcodec", "jpegxl lossless", "jpegls"}),
]


@pytest.mark.parametrize(("dtype", "bound", "expected"), FIELDS)
def test_the_peers_that_apply_keep_the_bound(dtype: str, bound: float, expected: set[str]) -> None:
    x = smooth((6, 16, 20), dtype)
    cells = {name: measure_peer(peer, x, bound) for name, peer in PEERS.items()}
    assert {name for name, cell in cells.items() if cell} == expected
    assert all(cell["bound_kept"] for cell in cells.values() if cell)
    assert all(cell["bytes"] < x.nbytes for name, cell in cells.items() if cell and "lossless" not in name)


@pytest.mark.parametrize("peer", PEERS.values(), ids=list(PEERS))
@pytest.mark.parametrize(("dtype", "bound"), [("u1", 0), ("i2", 2), ("f4", 0.02)])
def test_every_variant_gives_back_shape_dtype_and_values(peer: type[Peer], dtype: str, bound: float) -> None:
    x = smooth((5, 9, 12), dtype)
    for variant in peer.variants(x, bound):
        decoded = variant.decompress(variant.compress(x), x.shape, x.dtype)
        assert decoded.shape == x.shape
        assert decoded.dtype == x.dtype
        assert np.abs(decoded.astype(float) - x.astype(float)).max() <= bound


def test_colour_pictures_and_negative_pixels() -> None:
    x = np.stack([smooth((4, 12, 16), "i2") - 100] * 3, axis=-1)
    for name in ("jpegxl lossless", "jpegls"):
        cell = measure_peer(PEERS[name], x, 0)
        assert cell is not None
        assert cell["bound_kept"], name
    webp = measure_peer(PEERS["webp lossless"], x.astype("u1"), 0)
    assert webp is not None
    assert webp["bound_kept"]


@pytest.mark.parametrize("colours", [(), (3,)], ids=["grey", "colour"])
@pytest.mark.parametrize("name", ["jpegxl", "avif"])
def test_lossy_pictures_are_the_coarsest_that_reach_the_error(name: str, colours: tuple[int, ...]) -> None:
    x = smooth((6, 16, 20, *colours), "u1")
    coarse, fine = (measure_quality(PEERS[name], x, rmse) for rmse in (8.0, 3.0))
    assert coarse is not None
    assert fine is not None
    assert 4 < coarse["rmse"] <= 8
    assert 1 < fine["rmse"] <= 3
    assert coarse["bytes"] < fine["bytes"] < x.nbytes


def test_every_stream_of_lossy_pictures_counts() -> None:
    x = smooth((6, 16, 20), "u1")
    for peer in (PEERS["jpegxl"], PEERS["avif"]):
        alone, mosaic = peer.settings(x, 5.0)
        assert [len(variant.compress(x)) for variant in (alone, mosaic)] == [6, 1]
        cell = measure_quality(peer, x, 5.0)
        assert cell is not None
        assert cell["bytes"] == min(sum(map(len, variant.compress(x))) for variant in (alone, mosaic))


def test_what_lossy_pictures_are_made_of() -> None:
    wide = smooth((4, 12, 16), "i2") * 100 - 9000
    cell = measure_quality(PEERS["jpegxl"], wide, 150.0)
    assert cell is not None
    assert cell["bound_kept"]
    assert measure_quality(PEERS["avif"], wide, 150.0) is None
    for x in (smooth((4, 12, 16), "f4"), smooth((40, 16), "u1"), np.zeros((0, 12, 16), "u1")):
        assert all(measure_quality(PEERS[name], x, 5.0) is None for name in ("jpegxl", "avif"))


def test_nan_is_carried_by_the_lattice_and_filled_for_the_fields() -> None:
    x = smooth((8, 16, 20), "f4")
    x[:, 4:9, 3:7] = np.nan
    for name in ("quantize+delta+zstd", "sz3", "sperr", "zfp"):
        cell = measure_peer(PEERS[name], x, 0.01)
        assert cell is not None
        assert cell["bound_kept"], name
    lattice = next(iter(PEERS["quantize+pcodec"].variants(x, 0.01)))
    assert np.array_equal(np.isnan(lattice.decompress(lattice.compress(x), x.shape, x.dtype)), np.isnan(x))


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (1, 1), (3, 1, 2)])
@pytest.mark.parametrize("dtype", ["f4", "u1", "?"])
def test_hardly_any_data_is_no_problem(shape: tuple[int, ...], dtype: str) -> None:
    x = np.ones(shape, dtype)
    for peer in PEERS.values():
        for bound in (0.0, 1.0):
            cell = measure_peer(peer, x, bound)
            assert cell is None or cell["bytes"] > 0


class Liar(Peer):
    """Gives back the first value everywhere."""

    name = "liar"

    @classmethod
    def variants(cls, x: np.ndarray, bound: float) -> list[Liar]:
        return [cls()] if x.size and bound else []

    def compress(self, x: np.ndarray) -> list[bytes]:
        return [x[:1].tobytes()]

    def decompress(self, parts: list[bytes], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.full(shape, np.frombuffer(parts[0], dtype))


def test_a_broken_bound_is_seen_and_never_best() -> None:
    cell = measure_peer(Liar, np.arange(1000.0), 0.5)
    assert cell is not None
    assert (cell["bytes"], cell["bound_kept"]) == (8, False)
    found = results.summarise(8000, {"liar": cell, "zfp": {"bytes": 500, "bound_kept": True}}, {"bytes": 250}, 0)
    assert (found["best"], found["gain"]) == ("zfp", 2.0)


def test_a_stream_its_own_library_refuses_is_a_broken_bound() -> None:
    x = smooth((8, 16), "f4")
    variant = next(iter(PEERS["pcodec"].variants(x, 0.0)))
    assert not Trial(variant, [b"nonsense"], 1.0).cell(x, 0.0)["bound_kept"]


@given(shape=hnp.array_shapes(max_dims=5, max_side=5))
def test_layouts_fold_and_unfold(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    found = layouts(shape, (1, 2, 3))
    assert len(set(found)) == len(found)
    for layout in found:
        assert layout.shape[0] <= MAX_PARTS
        assert np.array_equal(layout.unfold(layout.fold(x), shape), x)


@given(st.lists(st.integers(-(2**61), 2**61)))
def test_zigzag_inverts_and_orders_by_magnitude(values: list[int]) -> None:
    integers = np.array(values, np.int64)
    codes = fold(integers)
    assert np.array_equal(unfold(codes), integers)
    assert np.array_equal(codes // 2 + codes % 2, np.abs(integers).astype(np.uint64))


@given(hnp.arrays(st.sampled_from(["<f8", "<u2", "|i1"]), st.integers(1, 30)))
def test_shuffle_inverts(x: np.ndarray) -> None:
    assert unshuffle(shuffle(x), x.dtype).tobytes() == x.tobytes()


@settings(max_examples=60)
@given(
    x=hnp.arrays("f4", st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32) | st.just(np.nan)),
    bound=st.floats(0.5, 1e4),
)
def test_float_lattice_keeps_the_bound_in_the_dtype_of_the_reader(x: np.ndarray, bound: float) -> None:
    lattice = Lattice.fitted(x, bound)
    if lattice is None:
        assert np.isnan(x).all()
        return
    decoded = lattice.dequantize(lattice.quantize(x), x.dtype)
    assert np.array_equal(np.isnan(decoded), np.isnan(x))
    assert np.nanmax(np.abs(decoded.astype("f8") - x.astype("f8"))) <= bound


@given(
    x=hnp.arrays(st.sampled_from(["u1", "i1", "i2", "u4"]), st.integers(1, 50)),
    bound=st.integers(0, 40),
)
def test_integer_lattice_keeps_the_bound(x: np.ndarray, bound: int) -> None:
    lattice = Lattice.fitted(x, bound)
    assert lattice is not None
    decoded = lattice.dequantize(lattice.quantize(x), x.dtype)
    assert np.abs(decoded.astype("i8") - x.astype("i8")).max() <= bound


@given(count=st.integers(1, 40), colours=st.sampled_from([(), (3,)]))
def test_mosaics_tile_and_untile(count: int, colours: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 255, (count, 8, 11, *colours), np.uint8)
    frames = Frames.of(x.shape)
    assert frames is not None
    assert np.array_equal(frames.untile(frames.tile(frames.split(x))), x)


def test_bounds_of_targets() -> None:
    x = np.array([1.0, np.nan, 5.0, np.inf], "f4")
    assert data.absolute_bound(Target("rel-error", 0.5), x) == 2.0
    assert data.absolute_bound(Target("max-error", 3), x) == 3.0
    assert data.absolute_bound(Target("lossless"), x) == 0.0
    assert data.absolute_bound(Target("rel-error", 0.5), x[:0]) == 0.0


def test_default_targets_have_the_keys_of_the_reference() -> None:
    floats = [target.describe() for target in data.default_targets(np.dtype("f4"))]
    integers = [target.describe() for target in data.default_targets(np.dtype("u1"))]
    assert floats == ["rel-error 0.01", "rel-error 0.001", "rel-error 0.0001"]
    assert integers == ["max-error 0", "max-error 1", "max-error 3", "max-error 10"]
    assert data.parse_target("rel-error 1e-3").describe() == "rel-error 0.001"
    with pytest.raises(InputError, match="no target"):
        data.parse_target("psnr 40")


def test_a_folder_of_pictures_is_one_array(tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(np.full((4, 5, 3), index, "u1")).save(tmp_path / f"{index}.png")
    assert data.load(tmp_path).shape == (3, 4, 5, 3)
    Image.fromarray(np.zeros((5, 4, 3), "u1")).save(tmp_path / "9.png")
    with pytest.raises(InputError, match="all of one shape"):
        data.load(tmp_path)


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    for name in ("missing.npy", "text.npy", "several.npz"):
        with pytest.raises(InputError, match=name):
            data.load(tmp_path / name)


def test_special_values_must_come_back_bit_for_bit() -> None:
    x = np.array([1.0, np.nan, np.inf], "f4")
    assert same_special_values(x, np.array([9.0, np.nan, np.inf], "f4"))
    assert not same_special_values(x, np.array([1.0, np.nan, -np.inf], "f4"))


def result(ours: int, best: int) -> results.Results:
    peers = {"sz3": {"bytes": best, "bound_kept": True, "enc_MBps": 1.0, "dec_MBps": 2.0, "psnr": 60.0}}
    mine = {"bytes": ours, "bound_kept": True, "enc_MBps": 3.0, "dec_MBps": 4.0, "psnr": 61.0, "model": "pca"}
    cell = results.summarise(100_000, peers, mine, 8192)
    entry = {"shape": [50_000], "dtype": "uint16", "raw_bytes": 100_000, "bounds": {"max-error 1": cell}}
    return {"set": entry}


def test_gains_and_what_is_forgiven() -> None:
    small = result(ours=10_000, best=5_000)["set"]["bounds"]["max-error 1"]
    assert small["gain"] == 0.5
    assert small["judged"] == 5_000 / (10_000 - 8192)
    large = result(ours=100_000, best=70_000)["set"]["bounds"]["max-error 1"]
    assert large["gain"] == large["judged"] == 0.7


def test_tables_name_lost_cells_and_broken_bounds() -> None:
    lost = result(ours=10_000, best=5_000)
    assert "Cells below 1.0: 1." in table.summary(lost)
    lost["set"]["bounds"]["max-error 1"]["aecompress"]["bound_kept"] = False
    text = table.markdown(lost)
    assert "Bounds of ours broken: 1." in text
    assert "| sz3 | 5000 | 20.00 | 2.000 | 1.0 | 2.0 | 60.0 | yes |" in text
    assert "Cells below 1.0: 0." in table.summary(result(ours=5_000, best=10_000))
    assert table.summary({}) == "No peer was measured."


def test_the_plot_has_a_curve_for_each_codec(tmp_path: Path) -> None:
    found = result(ours=5_000, best=10_000)
    assert curves(found["set"]) == {"aecompress": [(0.8, 61.0)], "sz3": [(1.6, 60.0)]}
    plot(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def packed_without_the_package(*_: object) -> dict[str, object]:
    return {"bytes": 100, "bound_kept": True, "enc_MBps": 1.0, "dec_MBps": 1.0, "psnr": None, "model": "none"}


def test_a_run_writes_everything_and_serves_as_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "measure_ours", packed_without_the_package)
    source, first, second = tmp_path / "waves.npy", tmp_path / "first", tmp_path / "second"
    np.save(source, smooth((40, 30), "f4"))
    arguments = [str(source), "--targets", "rel-error 1e-2", "--peers", "sz3,zfp", "-o", str(first)]
    found = run.run(run.parser().parse_args(arguments))
    assert {file.name for file in first.iterdir()} == {"results.json", "results.md", "rate-distortion.png"}
    assert list(found["waves"]["bounds"]["rel-error 0.01"]["peers"]) == ["sz3", "zfp"]
    again = [str(source), "--targets", "rel-error 1e-2", "--reference", str(first / "results.json"), "-o", str(second)]
    run.run(run.parser().parse_args(again))
    assert json.loads((second / "results.json").read_text()) == json.loads((first / "results.json").read_text())


def test_a_reference_without_the_cell_or_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no peers of other"):
        results.reference_peers(result(1, 1), "other", "max-error 1")
    path = tmp_path / "text.json"
    path.write_text("[1]")
    with pytest.raises(InputError, match="holds no results"):
        results.read_reference(path)


@pytest.mark.parametrize("option", [["--peers", "gzip"], ["--targets", "psnr 40"], ["--targets", "max-error x"]])
def test_bad_options_are_usage_errors(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run.parser().parse_args(["x.npy", "-o", "out", *option])
    assert stopped.value.code == 2
    assert option[1].split()[0] in capsys.readouterr().err


def test_synthetic_files_have_the_size_asked_for(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "x.npy", 5)
    x = np.load(tmp_path / "x.npy")
    assert x.dtype == np.float32
    assert abs(x.nbytes - 5e6) < 2000
    assert np.isfinite(x).all()


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs a Unix")
def test_peak_memory_sees_what_a_process_takes() -> None:
    small = memory.peak_rss([sys.executable, "-c", "pass"])
    large = memory.peak_rss([sys.executable, "-c", "b = bytearray(100_000_000); b[::4096] = b[::4096]"])
    assert 95 < large - small < 130
    with pytest.raises(SystemExit, match="exit code 3"):
        memory.peak_rss([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_kill_benchmark_tells_archives_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "part").write_bytes(b"1")
    expected = kill.digest(tmp_path)
    kill.check_same(tmp_path, expected)
    (tmp_path / "a" / "part").write_bytes(b"2")
    with pytest.raises(SystemExit, match="a/part"):
        kill.check_same(tmp_path, expected)


@pytest.mark.parametrize("dtype", soak.DTYPES)
def test_the_soak_sees_every_violation(dtype: str) -> None:
    values = np.concatenate([np.arange(9).astype(dtype), soak.specials(np.dtype(dtype))])
    assert soak.violations(values, values.copy(), 0.0) == 0
    for place in range(len(values)):
        changed = values.copy()
        changed.view(f"u{values.dtype.itemsize}")[place] ^= 1
        assert soak.violations(values, changed, 0.0) == 1
    assert soak.violations(values[:9], values[:9] + values.dtype.type(1), 1.0) == 0
    assert soak.violations(values[:9], values[:9] + values.dtype.type(2), 1.0) == 9
    assert soak.violations(values, values[1:], 1.0) == len(values)


def test_soak_rounds_are_repeatable_and_packed(tmp_path: Path) -> None:
    drawn = soak.Round.draw(3, batches=2, values=2000)
    first, second = ([batch.tobytes() for batch in drawn.batches(2000)] for _ in range(2))
    assert first == second
    compared, wrong = soak.check(drawn, tmp_path)
    assert (compared, wrong) == (drawn.rows * int(np.prod(drawn.row_shape)), 0)
    assert {soak.Round.draw(seed).dtype.str[1:] for seed in range(11)} == set(soak.DTYPES)


def test_speeds_are_medians() -> None:
    cells = iter([{"bytes": 5, "enc_MBps": speed_, "dec_MBps": 1.0} for speed_ in (9.0, 1.0, 3.0)])
    assert speed.repeated(lambda: next(cells), 3) == {"bytes": 5, "enc_MBps": 3.0, "dec_MBps": 1.0}
    x = smooth((8, 16), "f4")
    variant = next(iter(PEERS["zfp"].variants(x, 0.01)))
    assert measure_variant(variant, x, 0.01)["enc_MBps"] > 0


def test_the_command_runs_this_interpreter() -> None:
    assert aecompress("info", Path("x")) == [sys.executable, "-m", "aecompress", "info", "x"]


def test_the_family_is_measured_from_archives_on_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(4, 300, 3)) @ rng.normal(size=(3, 6)))
    found = ["--features", "2", "--rows", "900", "--rmse-of-range", "0.01", "--faiss", "SQ8"]
    options = family.parser().parse_args([f"{tmp_path}/x.npy", *found, "--kinds", "pca,none"])
    x = family.arranged(data.load(options.file), options)
    assert x.shape == (900, 6)
    titles, goals, cells = zip(*family.targets(x, options), strict=True)
    assert ["Faiss" in title for title in titles] == [False, True]
    assert goals[0].value == pytest.approx(0.01 * np.ptp(x))
    assert list(cells[1]) == ["Faiss SQ8"]
    lines = [text for text in family.report(options) if text.startswith("| ")]
    names = ["model", "pca", "none"]
    assert [text.split(" | ")[0][2:] for text in lines] == [*names, "model", "Faiss SQ8", *names[1:]]
    head, pca = (text.strip("| ").split(" | ") for text in lines[:2])
    found = dict(zip(head, pca, strict=True))
    assert found["smaller than pca"] == "1.00"
    assert float(found["PSNR dB"]) >= 40
    assert float(found["encode MB/s"]) > 0 < float(found["decode MB/s"])
    options.window, options.features = 5, None
    assert family.arranged(x, options).shape == (900, 5)


def test_the_family_stands_beside_the_peers_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", smooth((20, 12, 16), "u1"))
    arguments = ["--psnr", "30", "90", "--peers", "jpegxl,avif", "--kinds", "none"]
    lines = list(family.report(family.parser().parse_args([f"{tmp_path}/x.npy", *arguments])))
    names = [text.split(" | ")[0] for text in lines if text.startswith("| ")]
    assert names == ["| model", "| jpegxl", "| avif", "| none", "| model", "| jpegxl (misses)", "| avif", "| none"]
    np.save(tmp_path / "x.npy", smooth((20, 30), "f4"))
    lines = list(family.report(family.parser().parse_args([f"{tmp_path}/x.npy", *arguments])))
    assert "| jpegxl (does not apply) | - | - | - | - | - | - | - | - | - |" in lines


def test_the_suite_goes_on_without_missing_files_and_after_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", smooth((20, 30), "f4"))
    (tmp_path / "text.npy").write_text("no array")
    monkeypatch.setattr(suite, "RUNS", ("gone.npy --psnr 9", "text.npy --psnr 9", "x.npy --psnr 40"))
    monkeypatch.setattr(sys, "argv", ["suite", str(tmp_path), "-o", f"{tmp_path}/a.md", "--rows", "9", "--kinds=none"])
    suite.main()
    text = (tmp_path / "a.md").read_text()
    assert "Skipped: gone.npy" in text
    assert "Error: " in text
    assert "    python -m benchmarks.family x.npy --psnr 40 --rows 9 --kinds=none\n\nx, 9 x 30 float32" in text
    assert "\n| none | " in text


@pytest.mark.parametrize("command", suite.RUNS)
def test_the_runs_of_the_suite_are_commands(command: str) -> None:
    options = family.parser().parse_args(command.split())
    assert options.psnr or options.rmse_of_range or options.faiss


def test_channels_over_time_are_cut_to_windows_of_one_channel() -> None:
    x = np.arange(1000.0).reshape(500, 2)
    options = family.parser().parse_args(["x.npy", "--features", "0", "--window", "200"])
    np.testing.assert_array_equal(family.arranged(x, options), x[:400].T.reshape(4, 200))


def test_recall_counts_the_neighbours_that_stay() -> None:
    rows = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    assert family.recall(rows, rows) == 1.0
    assert 0.3 < family.recall(rows, rows + np.random.default_rng(1).normal(0, 0.3, rows.shape)) < 0.9
    assert family.recall(rows, rows[::-1]) < 0.2


@pytest.mark.parametrize(("shape", "expected"), [((1000,), (3, 256)), ((2, 600), (4, 256)), ((600, 2), (2, 256, 2))])
def test_windows_are_cut_along_time(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    found = anomalies.windows(np.arange(np.prod(shape)).reshape(shape), 256, 100, 0)
    assert found.shape == expected
    assert (np.diff(found, axis=1) == (shape[1] if expected[2:] else 1)).all()
    assert len(anomalies.windows(np.zeros(5000), 256, 7, 0)) == 7
    with pytest.raises(InputError, match="Windows of 256"):
        anomalies.windows(np.zeros(100), 256, 1, 0)


def test_glitches_spoil_the_windows_they_are_said_to() -> None:
    clean = (1000 * np.sin(np.arange(100 * 256) / 9)).astype("i2").reshape(100, 256, 1)
    rows, odd = anomalies.spoilt(clean, 0.3, 0)
    assert rows.dtype == clean.dtype
    assert 10 < odd.sum() < 50
    np.testing.assert_array_equal((rows != clean).any((1, 2)), odd)


def test_a_class_left_out_is_not_among_the_usual() -> None:
    odd = np.arange(100) % 5 == 0
    usual, judged, which = anomalies.left_out(np.arange(100), odd, 50, 15, 0)
    assert not odd[usual].any()
    np.testing.assert_array_equal(odd[judged], which)
    assert (len(usual), which.sum(), (~which).sum()) == (50, 15, 15)
    assert not set(usual) & set(judged)


def test_recall_counts_the_true_neighbours_that_were_found(tmp_path: Path) -> None:
    rows = np.arange(40.0).reshape(20, 2) ** 2
    wanted = neighbours.nearest(rows, [0, 19], 3)
    np.testing.assert_array_equal(wanted, [[1, 2, 3], [18, 17, 16]])
    assert neighbours.recall(wanted[:, ::-1], wanted) == 1
    assert neighbours.recall(np.array([[1, 9, 3], [9, 9, 9]]), wanted) == pytest.approx(2 / 6)
    before = neighbours.bytes_read()
    (tmp_path / "file").write_bytes(bytes(5000))
    (tmp_path / "file").read_bytes()
    assert before == 0 or neighbours.bytes_read() - before >= 5000
