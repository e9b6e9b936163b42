"""The package is a stack of layers: imports go down, never up or sideways, and heavy packages stay in their place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import aecompress

ROOT = Path(aecompress.__file__).parent

#: Low to high. Modules and folders of one layer are blind to each other; inside a folder all may be used.
LAYERS = (
    {"errors"},
    {"spec", "locations", "devices", "abreast"},
    {"config", "recipe", "metrics", "ranks", "indexing", "attributes", "pictures", "charts"},
    {"normalize", "entropy", "tensorfile"},
    {"sources", "sinks", "autoencoder", "subbands", "wavelet", "quantize", "lossless", "context", "shards"},
    {"codec", "figures", "peers", "restoration"},
    {"archive", "trainer"},
    {"inputs"},
    {"packer", "unpacker", "inspector", "verifier", "denoiser", "colorizer"},
    {"comparer", "htmlreport", "sampler", "applications"},
    {"__init__"},
    {"integrations"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

#: Packages that are slow to import or belong to one concern, and where they may be used.
PLACES = {
    "torch": {"devices", "ranks", "autoencoder", "context", "trainer", "restoration", "integrations"},
    "xarray": {"integrations"},
    "ray": {"integrations"},
    "pyspark": {"integrations"},
    "numba": {"entropy", "context", "subbands"},
    "fsspec": {"locations"},
    "pyarrow": {"archive", "inputs", "packer", "unpacker", "locations", "sources", "sinks", "shards", "integrations"},
    "zstandard": {"entropy", "shards", "demo", "peers"},
    "imagecodecs": {"peers", "sources", "sinks"},
    "PIL": {"peers", "sources", "sinks"},
    "tifffile": {"sources", "sinks"},
    "faiss": {"peers"},
    "safetensors": {"tensorfile"},
    "click": {"cli"},
    "threadpoolctl": {"abreast"},
    "tqdm": {"cli"},
}

MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")}


def imported(path: Path, *, types: bool = True) -> Iterator[str]:
    """Full names of what a file imports anywhere in it; without ``types`` not under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree if types else Running().visit(tree)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} uses a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class Running(ast.NodeTransformer):
    """Leaves out what only type checkers see."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def module_of(name: str) -> str | None:
    """The module of the package that an imported name leads to, None for names of other packages."""
    package, *parts = name.split(".")
    if package != "aecompress":
        return None
    while parts:
        for module in (".".join(parts), ".".join([*parts, "__init__"])):
            if module in MODULES:
                return module
        parts.pop()
    return "__init__"


def dependencies(name: str, *, types: bool = True) -> set[str]:
    """Modules of the package that one of them imports."""
    return {found for full in imported(MODULES[name], types=types) if (found := module_of(full))} - {name}


def top(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_has_a_layer() -> None:
    assert {top(name) for name in MODULES} <= set(LEVEL)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    wrong = {found for found in dependencies(name) if top(found) != top(name) and LEVEL[top(found)] >= LEVEL[top(name)]}
    assert not wrong, f"{name} may not import {', '.join(sorted(wrong))}"


def test_there_are_no_cycles() -> None:
    TopologicalSorter({name: dependencies(name, types=False) for name in MODULES}).prepare()


@pytest.mark.parametrize("package", sorted(PLACES))
def test_heavy_packages_stay_in_their_place(package: str) -> None:
    users = {name for name, path in MODULES.items() if any(found.split(".")[0] == package for found in imported(path))}
    assert {top(name) for name in users} <= PLACES[package]


def test_import_of_the_package_is_light() -> None:
    code = "import sys, aecompress; print(*sorted(sys.modules.keys() & set(sys.argv[1:])))"
    found = subprocess.run([sys.executable, "-c", code, *PLACES], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_public_names() -> None:
    """What the package offers, pinned: a change here is a change for every user."""
    assert sorted(aecompress.__all__) == [
        "AecompressError",
        "Archive",
        "Comparison",
        "Model",
        "Recipe",
        "Report",
        "Target",
        "__version__",
        "anomalies",
        "colorize",
        "compare",
        "denoise",
        "embed",
        "fit",
        "fit_colorizer",
        "fit_denoiser",
        "info",
        "load_model",
        "open",
        "pack",
        "report",
        "sample",
        "search",
        "unpack",
        "verify",
    ]
    assert all(getattr(aecompress, name) is not None for name in aecompress.__all__)
