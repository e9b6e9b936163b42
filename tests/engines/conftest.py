"""What the modules here share: each has ROWS, and HEIGHT, the rows of a block of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import aecompress
from aecompress.config import Target
from aecompress.integrations import jobs
from aecompress.trainer import fit, sampling


@pytest.fixture(autouse=True, scope="module")
def small_tasks(request: pytest.FixtureRequest) -> Iterator[None]:
    """HEIGHT rows a block, four blocks a task."""
    rows, height = request.module.ROWS, request.module.HEIGHT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK_VALUES", height * rows[0].size)
        patch.setattr(jobs, "_TASK_BYTES", 4 * height * rows[0].nbytes)
        yield


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> aecompress.Model:
    return fit(request.module.ROWS, Target("max-error", 0.01), kind="none", effort="fast")


@pytest.fixture(scope="module")
def local(request: pytest.FixtureRequest, model: aecompress.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a pack without an engine makes of ROWS."""
    path = tmp_path_factory.mktemp("local") / "a.aec"
    aecompress.pack(request.module.ROWS, path, model=model)
    return path
