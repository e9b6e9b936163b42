"""The command line as its users meet it: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import aecompress
from aecompress.cli import cli
from aecompress.cli.output import size
from aecompress.cli.unpack import RowRange
from aecompress.spec import VERSION

PACK = ("--model", "none")  # what these tests are about does not depend on the model
HEAVY = {"torch", "numba", "pyarrow", "zstandard", "safetensors", "tqdm"}


def run(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "aecompress", *map(str, arguments)]


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    return subprocess.run(command(*arguments), capture_output=True, timeout=120, check=False, **options)


def fails(result: Result, code: int, *words: str) -> None:
    """Check for an exit code and one sentence or two, with no result beside them."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert last.endswith(".")
    assert "Traceback" not in result.stderr
    assert all(word in last for word in words), last
    if code != 2:
        assert len(result.stderr.splitlines()) == 1


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with windows.npy, float32 [300, 32], and its archive windows.aec at a bound of 0.01."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(7)
    windows = np.cumsum(rng.normal(size=(300, 32)), axis=1).astype(np.float32)
    np.save(folder / "windows.npy", windows)
    packed = run("pack", folder / "windows.npy", "-o", folder / "windows.aec", "--max-error", 0.01, *PACK)
    assert packed.exit_code == 0, packed.output
    return folder


@pytest.fixture
def windows(home: Path) -> np.ndarray:
    return np.load(home / "windows.npy")


# --- what the verbs do ----------------------------------------------------------------------------------------------


def test_pack_says_what_it_did(home: Path, tmp_path: Path) -> None:
    result = run("pack", home / "windows.npy", "-o", tmp_path / "a", *PACK)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["rows"] == "300 x 32 float32"
    assert lines["target"] == "rel-error 0.001 (the default for this dtype)"
    assert "38.4 kB -> " in lines["size"]
    assert {"archive", "ratio", "error", "bound", "model", "time", "break-even"} <= lines.keys()


def test_pack_json_is_one_object_that_agrees_with_the_disk(home: Path, tmp_path: Path) -> None:
    result = run("pack", home / "windows.npy", "-o", tmp_path / "a", "--max-error", "0.01", "--json", *PACK)
    facts = json.loads(result.stdout)
    assert facts["target"] == {"kind": "max-error", "value": 0.01}
    assert facts["rows"] == 300
    assert facts["raw_bytes"] == 300 * 32 * 4
    assert facts["packed_bytes"] == sum(path.stat().st_size for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert facts["ratio"] == pytest.approx(facts["raw_bytes"] / facts["packed_bytes"])
    assert facts["bound_kept"] is True
    assert 0 < facts["max_abs_error"] <= 0.01
    expected = {"model_bytes", "rmse", "psnr", "model", "seconds", "mb_per_s", "break_even_rows"}
    assert expected <= facts.keys()


def test_unpack_keeps_the_bound_dtype_and_shape(home: Path, tmp_path: Path, windows: np.ndarray) -> None:
    result = run("unpack", home / "windows.aec", "-o", tmp_path / "back.npy")
    assert result.stdout == f"300 rows written to {tmp_path / 'back.npy'}\n"
    back = np.load(tmp_path / "back.npy")
    assert (back.dtype, back.shape) == (windows.dtype, windows.shape)
    assert np.abs(back.astype(float) - windows).max() <= 0.01


@pytest.mark.parametrize("rows", ["10:20", "290:", ":5", "-7:", ":-295", ":", "20:10"])
def test_unpack_rows_as_in_a_slice(home: Path, tmp_path: Path, rows: str) -> None:
    assert run("unpack", home / "windows.aec", "-o", tmp_path / "some.npy", "--rows", rows).exit_code == 0
    start, stop = (int(end) if end else None for end in rows.split(":"))
    np.testing.assert_array_equal(np.load(tmp_path / "some.npy"), aecompress.open(home / "windows.aec")[start:stop])


@given(start=st.none() | st.integers(-99, 99), stop=st.none() | st.integers(-99, 99))
def test_rows_are_read_as_a_slice_is_written(start: int | None, stop: int | None) -> None:
    written = ":".join("" if end is None else str(end) for end in (start, stop))
    assert RowRange().convert(written, None, None) == (start, stop)


def test_info(home: Path) -> None:
    shown = run("info", home / "windows.aec")
    assert "300 x 32 float32" in shown.stdout
    assert "max-error 0.01" in shown.stdout
    facts = json.loads(run("info", home / "windows.aec", "--json").stdout)
    assert facts == aecompress.info(home / "windows.aec")


def test_verify(home: Path) -> None:
    assert "300 rows" in run("verify", home / "windows.aec").stdout
    facts = json.loads(run("verify", home / "windows.aec", "--against", home / "windows.npy", "--json").stdout)
    assert facts["bound_kept"] is True
    assert facts["max_abs_error"] <= 0.01


def test_fit_makes_a_model_to_pack_with(home: Path, tmp_path: Path) -> None:
    model = tmp_path / "windows.model"
    fitted = run("fit", home / "windows.npy", "-o", model, "--max-error", "0.01", *PACK)
    assert f"{model}: none" in fitted.stdout
    packed = run("pack", home / "windows.npy", "-o", tmp_path / "a", "--model", model, "--json")
    assert json.loads(packed.stdout)["target"] == {"kind": "max-error", "value": 0.01}
    assert run("verify", tmp_path / "a", "--against", home / "windows.npy").exit_code == 0


def test_lossless_and_per_axis_targets(home: Path, tmp_path: Path, windows: np.ndarray) -> None:
    assert run("pack", home / "windows.npy", "-o", tmp_path / "all", "--lossless", *PACK).exit_code == 0
    np.testing.assert_array_equal(aecompress.open(tmp_path / "all")[:], windows)
    packed = run("pack", home / "windows.npy", "-o", tmp_path / "per", "--rel-error", 0.01, "--per", 1, "--json", *PACK)
    assert json.loads(packed.stdout)["target"] == {"kind": "rel-error", "value": 0.01, "per": 1}
    error = np.abs(aecompress.open(tmp_path / "per")[:].astype(float) - windows).max(0)
    assert (error <= 0.01 * np.ptp(windows.astype(float), axis=0)).all()


def test_a_model_that_does_not_pay_is_named(home: Path, tmp_path: Path) -> None:
    result = run("pack", home / "windows.npy", "-o", tmp_path / "a", "--max-error", "0.01", "--model", "pca")
    assert "none (pca brought nothing); blocks coded as context (1)" in result.stdout


def test_force_replaces(home: Path, tmp_path: Path) -> None:
    arguments = ("pack", home / "windows.npy", "-o", tmp_path / "a", *PACK)
    assert run(*arguments).exit_code == 0
    fails(run(*arguments), 1, "--force")
    assert run(*arguments, "--lossless", "--force").exit_code == 0
    assert aecompress.info(tmp_path / "a")["target"]["kind"] == "lossless"


def test_zero_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 5), np.float32))
    result = run("pack", tmp_path / "none.npy", "-o", tmp_path / "a", *PACK)
    assert result.exit_code == 0, result.output
    assert "none: there are no raw bytes" in result.stdout
    assert run("info", tmp_path / "a").exit_code == 0
    assert run("unpack", tmp_path / "a", "-o", tmp_path / "back.npy").exit_code == 0
    assert np.load(tmp_path / "back.npy").shape == (0, 5)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def _ragged(path: Path) -> Path:
    pq.write_table(pa.table({"x": pa.array([[1.0, 2.0], [3.0]])}), path / "ragged.parquet")
    return path / "ragged.parquet"


def _npy(array: Any) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        np.save(path / "bad.npy", array, allow_pickle=True)
        return path / "bad.npy"

    return write


def _file(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        (path / name).write_bytes(data)
        return path / name

    return write


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path / "missing.npy", ["missing.npy", "No such file"]),
        (_file("empty.npy", b""), ["empty"]),
        (_file("notes.txt", b"dear diary, 1 2 3\n"), ["format"]),
        (_file("notes.npy", b"dear diary, 1 2 3\n"), ["npy"]),
        (_npy(np.array([1, "two"], object)), ["objects"]),
        (_npy(np.array([[1.0], [2.0, 3.0]], object)), ["objects"]),
        (_npy(np.zeros(3, [("a", "f4"), ("b", "i4")])), ["structured"]),
        (_npy(np.zeros(3, "c8")), ["complex64"]),
        (_npy(np.float64(3)), ["single value"]),
        (_ragged, ["ragged"]),
    ],
    ids=[
        "missing",
        "empty",
        "text",
        "text-npy",
        "object",
        "ragged-object",
        "structured",
        "complex",
        "scalar",
        "ragged",
    ],
)
def test_bad_sources(tmp_path: Path, write: Callable[[Path], Path], words: list[str]) -> None:
    fails(run("pack", write(tmp_path), "-o", tmp_path / "a", *PACK), 1, *words)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (["--max-error", "-1"], ["max-error", "-1", "0 or more"]),
        (["--max-error", "nan"], ["max-error", "finite"]),
        (["--rel-error", "inf"], ["rel-error", "finite"]),
        (["--ratio", "0"], ["ratio", "greater than 0"]),
        (["--psnr", "-3"], ["psnr", "greater than 0"]),
        (["--cosine", "1"], ["cosine", "less than 1"]),
        (["--latent-dim", "0"], ["latents", "1 or more"]),
        (["--rel-error", "0.1", "--per", "9"], ["axis 9"]),
        (["--model", "no-such-kind"], ["no-such-kind"]),
    ],
)
def test_bad_targets(home: Path, tmp_path: Path, target: list[str], words: list[str]) -> None:
    fails(run("pack", home / "windows.npy", "-o", tmp_path / "a", *PACK, *target), 1, *words)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-error", "1", "--psnr", "40"], ["--max-error and --psnr", "one target"]),
        (["--lossless", "--ratio", "4"], ["--ratio and --lossless"]),
        (["--per", "0"], ["--per", "--rel-error"]),
        (["--max-error", "much"], ["--max-error", "much"]),
        (["--latent-dim", "2.5"], ["--latent-dim", "2.5"]),
        (["--workers", "0"], ["--workers"]),
    ],
)
def test_wrong_usage(home: Path, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    result = run("pack", home / "windows.npy", "-o", tmp_path / "a", *arguments)
    fails(result, 2, *words)
    assert result.stderr.startswith("Usage: ")


@pytest.mark.parametrize("rows", ["5", "a:b", "1:2:3", "1.5:", ""])
def test_bad_rows(home: Path, tmp_path: Path, rows: str) -> None:
    fails(run("unpack", home / "windows.aec", "-o", tmp_path / "x.npy", "--rows", rows), 2, "--rows", "100:200")


def test_destinations_that_are_taken(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "taken.npy").write_text("mine")
    source = home / "windows.npy"
    fails(run("pack", source, "-o", tmp_path / "mine", "--force", *PACK), 1, "not an archive")
    fails(run("unpack", home / "windows.aec", "-o", tmp_path / "taken.npy"), 1, "exists already", "--force")
    fails(run("fit", source, "-o", tmp_path / "taken.npy", *PACK), 1, "exists already", "--force")
    fails(run("fit", source, "-o", tmp_path / "no" / "model", *PACK), 1, "no folder")
    assert (tmp_path / "taken.npy").read_text() == "mine"


def test_things_that_are_no_archive(home: Path, tmp_path: Path) -> None:
    for verb in (["info"], ["verify"], ["unpack", "-o", tmp_path / "x.npy"]):
        fails(run(*verb, tmp_path / "missing"), 1, "does not exist")
        fails(run(*verb, tmp_path), 1, "not an archive")
    fails(run("pack", home / "windows.npy", "-o", tmp_path / "a", "--model", home / "windows.npy"), 1, "not an aec")


def _copy(archive: Path, to: Path) -> Path:
    for name in digest(archive):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes((archive / name).read_bytes())
    return to


def test_an_archive_of_a_future_version(home: Path, tmp_path: Path) -> None:
    archive = _copy(home / "windows.aec", tmp_path / "future")
    manifest = archive / "_manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"format_version":1,', b'"format_version":99,'))
    for verb in (["info"], ["verify"], ["unpack", "-o", tmp_path / "x.npy"]):
        fails(run(*verb, archive), 1, "99", "upgrade")


def test_verify_fails_with_3(home: Path, tmp_path: Path, windows: np.ndarray) -> None:
    archive = _copy(home / "windows.aec", tmp_path / "damaged")
    part = next((archive / "blocks").iterdir())
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    fails(run("verify", archive), 3, "damaged")
    fails(run("unpack", archive, "-o", tmp_path / "x.npy"), 1, "damaged")
    assert not (tmp_path / "x.npy").exists()
    np.save(tmp_path / "other.npy", windows + np.float32(0.1))
    fails(run("verify", home / "windows.aec", "--against", tmp_path / "other.npy"), 3, "bound")
    np.save(tmp_path / "short.npy", windows[:-1])
    fails(run("verify", home / "windows.aec", "--against", tmp_path / "short.npy"), 3, "299 x 32")


@pytest.mark.parametrize("change", ["dtype", "shape"])
def test_a_model_for_other_rows(home: Path, tmp_path: Path, windows: np.ndarray, change: str) -> None:
    assert run("fit", home / "windows.npy", "-o", tmp_path / "model", *PACK).exit_code == 0
    np.save(tmp_path / "other.npy", windows.astype(np.float64) if change == "dtype" else windows[:, :16])
    fails(run("pack", tmp_path / "other.npy", "-o", tmp_path / "a", "--model", tmp_path / "model"), 1, "fit a model")
    assert not (tmp_path / "a").exists()


# --- streams, signals, terminals ------------------------------------------------------------------------------------


def test_standard_input_and_output(home: Path, tmp_path: Path, windows: np.ndarray) -> None:
    data = (home / "windows.npy").read_bytes()
    packed = process("pack", "-", "-o", tmp_path / "a", "--max-error", "0.01", "--json", *PACK, input=data)
    assert json.loads(packed.stdout)["rows"] == 300
    assert packed.stderr == b""
    back = process("unpack", tmp_path / "a", "-o", "-", "--rows", "5:9")
    assert back.stderr == b""
    rows = np.load(io.BytesIO(back.stdout))
    assert np.abs(rows.astype(float) - windows[5:9]).max() <= 0.01


@pytest.mark.parametrize("arguments", [["unpack", "-o", "-"], ["info"]])
def test_a_reader_that_leaves_is_no_error(home: Path, arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    found = subprocess.run(command(*arguments, home / "windows.aec"), stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert found.stderr == b""
    assert found.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["unpack", "-o", "-"], ["info"]])
def test_a_full_disk(home: Path, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        found = subprocess.run(
            command(*arguments, home / "windows.aec"), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert found.returncode == 1
    assert b"No space left" in found.stderr
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_reading_leaves_nothing(home: Path, tmp_path: Path, number: int, code: int) -> None:
    archive = tmp_path / "a"
    with subprocess.Popen(
        command("pack", "-", "-o", archive), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as packing:
        assert packing.stdin is not None
        packing.stdin.write((home / "windows.npy").read_bytes()[:1000])
        packing.stdin.flush()
        wait_for(archive, "_staging/scratch/*")
        packing.send_signal(number)
        _, stderr = packing.communicate(timeout=60)
    assert packing.returncode == code
    assert stderr.decode() == f"Error: Stopped by {signal.Signals(number).name}. Nothing was written.\n"
    assert not archive.exists()


@pytest.fixture(scope="module")
def long(home: Path) -> tuple[Path, Path]:
    """A source of six blocks and a model for it, for which no fit is needed."""
    windows = np.load(home / "windows.npy")
    source, model = home / "long.npy", home / "long.model"
    np.save(source, np.resize(windows, (6 << 15, 32)) + np.linspace(0, 9, 6 << 15, dtype=np.float32)[:, None])
    assert run("fit", home / "windows.npy", "-o", model, "--max-error", "0.01", *PACK).exit_code == 0
    return source, model


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_pack_resumes_to_the_same_bytes(long: tuple[Path, Path], tmp_path: Path, number: int) -> None:
    source, model = long
    arguments = ("pack", source, "--model", model, "-o")
    assert run(*arguments, tmp_path / "calm").exit_code == 0
    archive = tmp_path / "a"
    with subprocess.Popen(command(*arguments, archive), stderr=subprocess.PIPE) as packing:
        wait_for(archive, "_staging/blocks/*.parquet")
        packing.send_signal(number)
        _, stderr = packing.communicate(timeout=60)
    assert packing.returncode == (143 if number == signal.SIGTERM else -number)
    assert (b"--resume" in stderr) == (number == signal.SIGTERM)
    for verb in (["info"], ["verify"], ["unpack", "-o", tmp_path / "x.npy"]):
        fails(run(*verb, archive), 1, "unfinished", "--resume")
    fails(run(*arguments, archive), 1, "unfinished", "--resume")
    assert run(*arguments, archive, "--resume").exit_code == 0
    assert digest(archive) == digest(tmp_path / "calm")


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 120  # the first run compiles
    while not any(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} in {folder}"
        time.sleep(0.002)


def test_progress_is_drawn_on_a_terminal_only(home: Path, tmp_path: Path) -> None:
    """Standard error is a terminal here; in all other tests of processes it is a pipe, and stays empty."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    with subprocess.Popen(
        command("pack", home / "windows.npy", "-o", tmp_path / "a", "--json", *PACK),
        stdout=subprocess.PIPE,
        stderr=slave,
    ) as packing:
        os.close(slave)
        drawn = read_all(master)
        assert packing.stdout is not None
        assert json.loads(packing.stdout.read())["rows"] == 300
    assert "pack: 100%" in drawn
    assert "ratio=" in drawn
    assert "B/s" in drawn


def read_all(descriptor: int) -> str:
    parts: list[bytes] = []
    while True:
        try:
            parts.append(os.read(descriptor, 65536))
        except OSError:  # how Linux says that the other side of a terminal is closed
            parts.append(b"")
        if not parts[-1]:
            os.close(descriptor)
            return b"".join(parts).decode()


# --- start and help -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["pack", "--help"], ["info", "windows.aec"], ["--version"]])
def test_help_and_info_start_light(home: Path, arguments: Sequence[str]) -> None:
    code = f"import sys; from aecompress.cli import cli; cli({arguments!r}, standalone_mode=False); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(found.stdout.splitlines()[-1].split())


def test_version_and_module() -> None:
    assert process("--version").stdout.decode() == f"aecompress {VERSION}\n"


def test_help_is_whole() -> None:
    """No line of the list of verbs is cut off, and each verb explains each of its options."""
    _, verbs = run("--help").stdout.split("Commands:")
    assert "..." not in verbs
    for name, verb in cli.commands.items():
        assert f"  {name} " in verbs
        assert all(option.help for option in verb.params if isinstance(option, click.Option)), name


@given(count=st.integers(0, 10**16))
def test_sizes_for_people_are_right_to_three_digits(count: int) -> None:
    number, unit = size(count).split()
    factor = {"bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert float(number.replace(",", "")) * factor == pytest.approx(count, rel=0.005)
