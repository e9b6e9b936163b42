"""What makes a command line pleasant: completion, defaults in a file, how loud it is, how soon it answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import aecompress
from aecompress.cli import cli
from aecompress.cli.progress import ProgressBar

PROCESS = [sys.executable, "-m", "aecompress"]


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], env=environment)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with rows.npy in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AECOMPRESS_CONFIG", raising=False)
    np.save("rows.npy", np.random.default_rng(2).normal(size=(40, 8)).cumsum(0))
    return tmp_path


# --- completion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_every_shell(shell: str) -> None:
    script = run("completion", shell).stdout
    assert f"_AECOMPRESS_COMPLETE={shell}_complete" in script
    assert "aecompress" in script


def test_the_script_is_bash(here: Path) -> None:
    (here / "script").write_text(run("completion", "bash").stdout)
    checked = "source ./script && complete -p aecompress"
    found = subprocess.run(["bash", "-euc", checked], capture_output=True, text=True, check=True)
    assert "-F _aecompress_completion aecompress" in found.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [("un", "plain,unpack"), ("pack --max", "plain,--max-error"), ("pack --format par", "plain,parquet")],
)
def test_verbs_options_and_formats_complete(words: str, found: str) -> None:
    typed = {"COMP_WORDS": f"aecompress {words}", "COMP_CWORD": str(len(words.split()))}
    done = subprocess.run(
        PROCESS, env={**os.environ, **typed, "_AECOMPRESS_COMPLETE": "bash_complete"}, capture_output=True, text=True
    )
    assert found in done.stdout.splitlines()


# --- defaults -------------------------------------------------------------------------------------------------------


def target(archive: str) -> str:
    return str(aecompress.info(archive)["target"]["kind"])


def test_a_file_in_the_working_directory_gives_defaults(here: Path) -> None:
    (here / "aecompress.toml").write_text('[pack]\nmodel = "none"\nmax-error = 0.5\n')
    assert run("pack", "rows.npy", "-o", "a").exit_code == 0
    assert aecompress.info("a")["target"] == {"kind": "max-error", "value": 0.5}
    assert run("pack", "rows.npy", "-o", "b", "--max-error", 0.25).exit_code == 0
    assert aecompress.info("b")["target"]["value"] == 0.25
    assert run("pack", "rows.npy", "-o", "c", "--lossless").exit_code == 0
    assert target("c") == "lossless"


def test_a_target_spoken_out_goes_before_one_per_axis_in_the_file(here: Path) -> None:
    (here / "aecompress.toml").write_text('[pack]\nmodel = "none"\nrel-error = 0.1\nper = 1\n')
    assert run("pack", "rows.npy", "-o", "a").exit_code == 0
    assert aecompress.info("a")["target"]["per"] == 1
    assert run("pack", "rows.npy", "-o", "b", "--max-error", 1).exit_code == 0
    assert target("b") == "max-error"


def test_the_environment_names_a_file(here: Path) -> None:
    (here / "aecompress.toml").write_text("[pack]\nlossless = true\n")
    (here / "mine.toml").write_text('[pack]\nmodel = "none"\nmax-error = 0.5\n')
    assert run("pack", "rows.npy", "-o", "a", AECOMPRESS_CONFIG="mine.toml").exit_code == 0
    assert target("a") == "max-error"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pack]\nworker = 2\n", "worker is no option of pack; it takes format, model"),
        ("[pakc]\nworkers = 2\n", "[pakc] is no command; use tables named as one of demo, pack"),
        ("workers = 2\n", "[workers] is no command"),
        ("[pack]\nworkers = [2]\n", "workers of pack is [2]; give a text"),
        ("[pack\n", "is not TOML"),
    ],
)
def test_files_that_give_no_defaults(here: Path, text: str, message: str) -> None:
    (here / "aecompress.toml").write_text(text)
    found = run("pack", "rows.npy", "-o", "a")
    assert found.exit_code == 1
    assert found.stderr.startswith("Error: aecompress.toml")
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_value_of_the_wrong_kind_is_wrong_usage(here: Path) -> None:
    (here / "aecompress.toml").write_text('[pack]\nworkers = "many"\n')
    found = run("pack", "rows.npy", "-o", "a")
    assert found.exit_code == 2
    assert "--workers" in found.stderr


def test_a_file_that_is_not_there(here: Path) -> None:
    assert "which AECOMPRESS_CONFIG names" in run("info", here, AECOMPRESS_CONFIG="gone.toml").stderr


# --- how loud it is -------------------------------------------------------------------------------------------------


def test_it_says_as_much_as_it_is_told_to(here: Path) -> None:
    (here / "aecompress.toml").write_text('[pack]\nmodel = "none"\nmax-error = 0.5\n')
    said = {}
    for flag in ("", "-q", "-v", "-vv"):
        done = subprocess.run(
            [*PROCESS, *flag.split(), "pack", "rows.npy", "-o", f"a{flag}"], capture_output=True, text=True, check=True
        )
        said[flag] = done.stderr
    assert said[""] == said["-q"] == ""
    assert "defaults of options are taken from aecompress.toml" in said["-v"]
    assert "packing rows.npy, 40 x 8 float64, at max-error 0.5" in said["-v"]
    assert "model none after" in said["-v"]
    assert "rows 0 to 40" not in said["-v"]
    assert "rows 0 to 40" in said["-vv"]


def test_quiet_draws_no_progress(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("-q", "info", here).exit_code == 1
    with ProgressBar() as bar:
        bar("pack", 0.5, {})
        assert bar._bar is None
    assert run("info", here).exit_code == 1
    with ProgressBar() as bar:
        bar("pack", 0.5, {})
        assert bar._bar is not None


def test_loud_and_quiet_at_once() -> None:
    found = run("-v", "-q", "info", "a")
    assert found.exit_code == 2
    assert "exclude each other" in found.stderr


# --- how soon -------------------------------------------------------------------------------------------------------


def test_help_takes_little_time() -> None:
    """What takes seconds to load is loaded where it is needed; how long help takes is a matter of the machine."""
    program = "import sys; from aecompress.__main__ import main; sys.argv[1:] = ['--help']; main()"
    listed = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    done = subprocess.run([sys.executable, "-c", listed + program], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert not loaded & {"torch", "numba", "pyarrow", "pandas", "scipy", "safetensors", "imagecodecs", "fsspec"}
