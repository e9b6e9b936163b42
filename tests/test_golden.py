"""Archives of earlier releases decode to the bytes they always did. A test run never writes them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import aecompress
from aecompress.codec.frame import METHODS
from aecompress.codec.model import VERSION
from aecompress.shards.sealed import FORMAT_VERSION

GOLDEN = Path(__file__).parent / "golden"
ARCHIVES = sorted(path.parent for path in GOLDEN.glob("v*/*/_manifest.json"))

made = pytest.mark.skipif(not any(GOLDEN.glob("v*")), reason="no format version is final yet")


@made
@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_golden_archives_decode_to_the_same_bytes(archive: Path) -> None:
    expected = json.loads((archive.parent / "sha256.json").read_text())[archive.name]
    rows = aecompress.open(archive)[:]
    assert rows.dtype == np.dtype(expected["dtype"])
    assert list(rows.shape) == expected["shape"]
    assert hashlib.sha256(np.ascontiguousarray(rows, expected["dtype"]).tobytes()).hexdigest() == expected["sha256"]


@made
@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_every_version_has_its_golden_archives(version: int) -> None:
    folder = GOLDEN / f"v{version}"
    named = json.loads((folder / "sha256.json").read_text())
    assert named
    assert sorted(named) == sorted(path.name for path in folder.iterdir() if path.is_dir())


@made
def test_every_model_version_and_method_has_a_golden_archive() -> None:
    opened = [aecompress.open(archive) for archive in ARCHIVES]
    versions = {_model_version(archive) for archive in ARCHIVES}
    assert versions == set(range(1, VERSION + 1))
    assert {name for archive in opened for name in archive.manifest.report["methods"]} == set(METHODS.values())


def _model_version(archive: Path) -> int:
    (file,) = (archive / "_model").glob("*.safetensors")
    data = file.read_bytes()
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return int(json.loads(head["__metadata__"]["aecompress"])["version"])


@made
def test_golden_archives_are_not_written_again() -> None:
    before = {path: path.stat().st_mtime_ns for path in GOLDEN.rglob("v*/**/*")}
    done = subprocess.run([sys.executable, GOLDEN / "make.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "never written again" in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in GOLDEN.rglob("v*/**/*")}
