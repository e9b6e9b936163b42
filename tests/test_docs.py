"""What the documents show is run, and what they list is complete."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import aecompress
from aecompress import sinks, sources
from aecompress.cli import cli
from aecompress.config import MODEL_KINDS, Target
from aecompress.figures import Report

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": ["readings"],
    "docs/quickstart.md": ["readings"],
    "docs/etl.md": ["monday", "tuesday"],
    "docs/libraries.md": ["windows"],
    "docs/migrating.md": ["field"],
    "docs/applications.md": ["readings"],
    "docs/stores.md": ["windows"],
}
REFERENCE = (ROOT / "docs/cli.md").read_text()


@pytest.fixture
def shell(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment whose ``aecompress`` is the one under test, with an S3 server where a page needs it."""
    if page == "docs/stores.md":
        request.getfixturevalue("store")
    command = tmp_path / "bin" / "aecompress"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m aecompress "$@"\n')
    command.chmod(0o755)
    defaults = tmp_path / "bin" / "defaults.toml"  # commands are to work, not to find the smallest archive
    defaults.write_text('[pack]\neffort = "fast"\nmodel = "none"\n[fit]\neffort = "fast"\n')
    return {
        **os.environ,
        "AECOMPRESS_CONFIG": str(defaults),
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page: str, tmp_path: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page in order, in one folder; Python blocks share their names."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(PAGES[page]):
        rows = np.cumsum(np.random.default_rng(seed).normal(size=(200, 64)), axis=1)
        np.save(f"{name}.npy", rows.astype(np.float32))
    names: dict[str, Any] = {}
    for language, code in re.findall(r"^```(sh|python)\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S):
        if language == "python":
            exec(compile(code, page, "exec"), names)
        else:
            found = subprocess.run(["bash", "-euo", "pipefail", "-c", code], env=shell, capture_output=True, text=True)
            assert found.returncode == 0, f"{code}\n{found.stderr}"


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_the_list_of_pages_is_complete() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md", "index.md"}
    assert set(re.findall(r"\]\((\w[\w.]*\.md)\)", (ROOT / "docs/README.md").read_text())) == pages


def test_every_format_stands_in_the_table() -> None:
    table = (ROOT / "docs/formats.md").read_text().partition("*Streamed*")[0]
    cells = re.findall(r"^\| (`[^|]+) \|.*\| (test_[^|]+) \|$", table, re.M)
    assert {name for cell, _ in cells for name in re.findall("`([^`]+)`", cell)} >= {*sources.FORMATS, *sinks.FORMATS}
    assert all((ROOT / f"tests/{name}.py").exists() for _, tests in cells for name in tests.split(", "))


def blocks(page: str) -> list[str]:
    return re.findall(r"^```.*?^```$", (ROOT / page).read_text(), re.M | re.S)


def test_the_students_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of the page in order, on fewer pictures and with next to no training."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("docs/autoencoders.md"):
        language, code = block.removesuffix("```").removeprefix("```").split("\n", 1)
        if language == "python":
            exec(
                compile(code.replace('fashion_mnist_2000.npy")', 'fashion_mnist_2000.npy")[:120]'), "page", "exec"),
                names,
            )
        for command in code.splitlines() if language == "sh" else []:
            verb, *arguments = shlex.split(re.sub(r"--fit-seconds \d+", "--fit-seconds 0.2", command))
            assert verb == "aecompress"
            found = CliRunner().invoke(cli, arguments, catch_exceptions=False)
            assert found.exit_code == 0, f"{command}\n{found.output}"


def test_the_students_page_shows_the_same_in_hindi() -> None:
    assert blocks("docs/autoencoders.md") == blocks("docs/autoencoders.hi.md")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="needs Sphinx: pip install 'aecompress[docs]'")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", tmp_path / "trees"]
    found = subprocess.run([*command, ROOT / "docs", tmp_path / "site"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    api = (tmp_path / "site" / "api.html").read_text()
    assert all(f'id="aecompress.{name}"' in api for name in aecompress.__all__ if name != "__version__")


def section(verb: str) -> str:
    found = re.search(rf"^## aecompress {verb}$(.*?)(?=^## |\Z)", REFERENCE, re.M | re.S)
    assert found, f"docs/cli.md has no section about {verb}"
    return found[1]


@pytest.mark.parametrize("verb", cli.commands)
def test_reference_lists_every_option_as_the_command_takes_it(verb: str) -> None:
    cells = re.findall(r"^\| (`-[^|]*(?:\\\|[^|]*)*) \|", section(verb), re.M)
    written = {option.replace("\\|", "|") for cell in cells for option in re.findall(r"`([^`]+)`", cell)}
    context = click.Context(cli.commands[verb])
    options = [option for option in cli.commands[verb].params if isinstance(option, click.Option)]
    names = {" ".join([option.opts[0], *_metavar(option, context)]) for option in options}
    assert written == names


def _metavar(option: click.Option, context: click.Context) -> list[str]:
    """What stands for its value in the documents."""
    named = {"seed": "N", "kind": "KIND", "rows": "A:B"}
    return [] if option.is_flag else [named.get(option.name or "") or option.make_metavar(context)]


def test_reference_lists_every_verb_and_model_kind() -> None:
    assert re.findall(r"^## aecompress (\w+)$", REFERENCE, re.M) == list(cli.commands)
    assert all(f"`{kind}`" in section("pack") for kind in MODEL_KINDS)


def test_reference_lists_every_key_of_the_report() -> None:
    report = Report(
        0, 0, 0, 0, 0, None, Target("lossless"), False, None, 0.0, 0.0, None, True, "none", {}, 0, 0, 0, 0, None
    )
    _, keys = section("pack").split("Keys of `--json`:")
    written = [key for cell in re.findall(r"^\| (`[^|]+) \|", keys, re.M) for key in re.findall(r"`(\w+)`", cell)]
    assert sorted(written) == sorted(report.to_json())


def test_the_readme_holds_the_command_that_ci_runs() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    marked = lines.index("<!-- .ci/run runs the next line -->")
    command = next(line for line in lines[marked:] if line.startswith("    "))
    assert "pip install" in command
    assert "pytest" in command
    assert lines[marked] in (ROOT / ".ci/run").read_text().replace("\\", "")
