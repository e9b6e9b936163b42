"""The demo and its picture."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import aecompress
from aecompress import demo
from aecompress.cli import cli
from aecompress.pictures import grid, write_png


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The first 64 pictures in place of the sample."""
    pictures = np.load(demo.SAMPLE)[:64]
    np.save(tmp_path / "small.npy", pictures)
    monkeypatch.setattr(demo, "SAMPLE", tmp_path / "small.npy")
    return pictures


def read_png(path: Path) -> np.ndarray:
    """Grey values of a PNG file without filters, every checksum compared."""
    data, at, found = path.read_bytes(), 8, {}
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(data):
        (length,), name = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        found[name] = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length) == (zlib.crc32(name + found[name]),)
        at += 12 + length
    width, height, *rest = struct.unpack(">IIBBBBB", found[b"IHDR"])
    assert rest == [8, 0, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


def test_the_sample_ships_and_is_small() -> None:
    sample = np.load(demo.SAMPLE)
    assert (sample.shape, sample.dtype) == ((2000, 28, 28), np.uint8)
    assert demo.SAMPLE.stat().st_size <= 1.6e6
    assert "MIT" in (demo.SAMPLE.parent / "README.md").read_text()


def test_demo(small: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = CliRunner().invoke(cli, ["demo", "-o", str(folder)])
    assert result.exit_code == 0, result.output
    assert "max-error 8" in result.stdout
    assert "lossless, gzip -9" in result.stdout
    assert {path.name for path in folder.iterdir()} == {"fashion.aec", "fashion.npy", "pictures.png"}
    back = np.load(folder / "fashion.npy")
    assert np.abs(back.astype(int) - small).max() <= demo.BOUND
    np.testing.assert_array_equal(aecompress.open(folder / "fashion.aec")[:], back)
    picture = read_png(folder / "pictures.png")
    assert picture.shape == (3 * 3 * 30, 3 * demo._SHOWN * 30)
    np.testing.assert_array_equal(picture[3 : 3 * 29 : 3, 3 : 3 * 29 : 3], small[0])


def test_a_second_demo_needs_force(small: np.ndarray, tmp_path: Path) -> None:
    assert len(small)
    (tmp_path / "pictures.png").write_text("mine")
    refused = CliRunner().invoke(cli, ["demo", "-o", str(tmp_path)])
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert (tmp_path / "pictures.png").read_text() == "mine"
    assert CliRunner().invoke(cli, ["demo", "-o", str(tmp_path), "--force"]).exit_code == 0
    read_png(tmp_path / "pictures.png")


def test_peers_keep_the_same_bound(small: np.ndarray) -> None:
    """What the quantised peers keep comes back within the bound, so the comparison is fair."""
    step = 2 * demo.BOUND + 1
    assert np.abs((small.astype(int) + demo.BOUND) // step * step - small).max() <= demo.BOUND
    sizes = demo.peers(small)
    assert all(0 < count < small.nbytes for count in sizes.values())
    assert list(sizes.values()) == sorted(sizes.values())


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_png_gives_every_value_back(tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "picture.png"
    write_png(path, picture)
    np.testing.assert_array_equal(read_png(path), picture)


@given(
    pictures=hnp.arrays(np.int16, st.tuples(*[st.integers(1, 4)] * 3)), lines=st.integers(1, 3), zoom=st.integers(1, 3)
)
def test_grid_shows_every_picture(pictures: np.ndarray, lines: int, zoom: int) -> None:
    shown = grid([pictures] * lines, zoom=zoom)[::zoom, ::zoom]
    count, height, width = pictures.shape
    cells = shown.reshape(lines, height + 2, count, width + 2)[:, 1:-1, :, 1:-1]
    expected = np.clip(pictures, 0, 255).swapaxes(0, 1)
    np.testing.assert_array_equal(cells, np.broadcast_to(expected, cells.shape))
