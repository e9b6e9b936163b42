"""Pictures in folders, tars and TIFF stacks: read as their libraries write them, written as those read them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import aecompress
from aecompress.errors import DestinationError, InputError
from aecompress.sinks import open_sink
from aecompress.sources import open_source
from aecompress.sources.images import natural

Image = pytest.importorskip("PIL.Image")
imagecodecs = pytest.importorskip("imagecodecs")
tifffile = pytest.importorskip("tifffile")

Array = np.ndarray[Any, Any]

relaxed = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(*shape: int, dtype: str = "u1", seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 2 if dtype == "?" else 250, shape).astype(dtype)


def gather(source: Any, rows: int = 2) -> Array:
    return np.concatenate(list(source.batches(rows)))


def names(source: Any) -> list[str]:
    return [name for batch in source.columns.batches(0, 2) for name in batch.column("file").to_pylist()]


def copy(source: Any, dest: Path, **options: Any) -> None:
    sink = open_sink(dest, source.spec, source.origin, **options)
    for batch in source.batches(2):
        sink.write(batch)
    sink.commit()


def same(found: Array, expected: Array) -> bool:
    native = expected.astype(expected.dtype.newbyteorder("="))
    return found.dtype == native.dtype and found.shape == native.shape and found.tobytes() == native.tobytes()


def as_tar(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname="")
    return path


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 2), (5, 6, 3), (5, 6, 4), (1, 1), (5, 1, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_png_of_every_depth_and_number_of_channels(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    rows = noise(4, *shape, dtype=dtype) * (257 if dtype == "u2" else 1)
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.png").write_bytes(imagecodecs.png_encode(row))
    assert same(gather(open_source(tmp_path)), rows)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8", "i8", ">u2"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_tiff_of_every_dtype(dtype: str, compression: str | None, tmp_path: Path) -> None:
    rows = noise(3, 5, 6, dtype=dtype)
    for number, row in enumerate(rows):
        tifffile.imwrite(tmp_path / f"{number}.tif", row, compression=compression)
    assert same(gather(open_source(tmp_path)), rows)


def test_jpeg_is_decoded(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(tmp_path / "b.jpeg", quality=95)
    rows = gather(open_source(tmp_path))
    assert np.abs(rows.astype(int).mean(axis=(1, 2, 3)) - [100, 200]).max() < 2


def test_palettes_and_transparency_become_channels(tmp_path: Path) -> None:
    colours = noise(6, 7, 3) // 64 * 64
    for name, kind in {"palette": "P", "colours": "RGB"}.items():
        (tmp_path / kind).mkdir()
        image = Image.fromarray(colours)
        (image.quantize(64) if kind == "P" else image).save(tmp_path / kind / f"{name}.png", transparency=None)
    assert gather(open_source(tmp_path / "RGB")).shape == (1, 6, 7, 3)
    assert same(gather(open_source(tmp_path / "P")), gather(open_source(tmp_path / "RGB")))
    grey = Image.fromarray(np.array([[10, 20]], np.uint8))
    (tmp_path / "clear").mkdir()
    grey.save(tmp_path / "clear" / "a.png", transparency=10)
    assert gather(open_source(tmp_path / "clear")).tolist() == [[[[10, 0], [20, 255]]]]


def test_one_bit_is_bool(tmp_path: Path) -> None:
    rows = noise(3, 5, 9, dtype="?")
    for number, row in enumerate(rows):
        Image.fromarray(row).save(tmp_path / f"{number}.png")
    source = open_source(tmp_path)
    assert same(gather(source), rows)
    copy(source, tmp_path / "out")
    assert same(gather(open_source(tmp_path / "out")), rows)


def test_rows_are_in_natural_order_and_names_are_a_column(tmp_path: Path) -> None:
    placed = ["2.png", "10.png", "b/1.png", "b/12.png"]
    (tmp_path / "set" / "b").mkdir(parents=True)
    for value, name in enumerate(placed):
        Image.fromarray(np.full((2, 3), value, np.uint8)).save(tmp_path / "set" / name)
    (tmp_path / "set" / ".hidden.png").write_bytes(b"")
    (tmp_path / "set" / "notes.txt").write_text("about them")
    for source in (open_source(tmp_path / "set"), open_source(as_tar(tmp_path / "set", tmp_path / "set.tar"))):
        assert names(source) == placed
        assert gather(source)[:, 0, 0].tolist() == [0, 1, 2, 3]
        assert next(source.batches(2, 1))[:, 0, 0].tolist() == [1, 2]


@given(st.lists(st.integers(0, 10**6), unique=True), st.sampled_from(["", "x", "frame-"]))
def test_numbers_in_names_sort_by_value(numbers: list[int], prefix: str) -> None:
    found = sorted((f"{prefix}{number}.png" for number in numbers), key=natural)
    assert found == [f"{prefix}{number}.png" for number in sorted(numbers)]


def _differ(folder: Path) -> None:
    for name, size in {"a.png": (4, 5), "b.png": (4, 6)}.items():
        Image.fromarray(noise(*size)).save(folder / name)


def _mixed(folder: Path) -> None:
    Image.fromarray(noise(4, 5)).save(folder / "grey.png")
    Image.fromarray(noise(4, 5, 3)).save(folder / "red.png")


def _cmyk(folder: Path) -> None:
    Image.fromarray(noise(4, 5, 4), "CMYK").save(folder / "a.jpg")


def _no_picture(folder: Path) -> None:
    (folder / "a.png").write_text("no picture")


def _cut(folder: Path) -> None:
    whole = imagecodecs.png_encode(noise(40, 50))
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])


def _pages(folder: Path) -> None:
    with tifffile.TiffWriter(folder / "a.tif") as tiff:
        tiff.write(noise(4, 5))
        tiff.write(noise(6, 7))


def _palette(folder: Path) -> None:
    tifffile.imwrite(folder / "a.tif", noise(4, 5), photometric="palette", colormap=noise(3, 256, dtype="u2"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_differ, r"b\.png is 4 x 6 uint8, but a\.png is 4 x 5 uint8: .*resize"),
        (_mixed, r"red\.png is 4 x 5 x 3 uint8, but grey\.png is 4 x 5 uint8"),
        (_cmyk, r"a\.jpg cannot be packed: its colours are CMYK; convert it"),
        (_no_picture, r"a\.png cannot be packed: cannot identify"),
        (_cut, r"a\.png cannot be packed: .*truncated"),
        (_pages, r"a\.tif cannot be packed: it holds 2 different pictures"),
        (_palette, r"a\.tif cannot be packed: .*palette; convert"),
    ],
)
@pytest.mark.parametrize("tar", [False, True])
def test_pictures_that_make_no_set(make: Callable[[Path], None], message: str, tar: bool, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    make(tmp_path / "set")
    with pytest.raises(InputError, match=message):
        gather(open_source(as_tar(tmp_path / "set", tmp_path / "set.tar") if tar else tmp_path / "set"))


def test_tars_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        open_source(as_tar(tmp_path / "set", tmp_path / "none.tar"))
    (tmp_path / "bad.tar").write_bytes(b"\x1f\x8b no tar" * 100)
    with pytest.raises(InputError, match="not a whole tar, or a compressed one"):
        open_source(tmp_path / "bad.tar")


# --- stacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 3), (4, 2, 5, 6), (1, 5, 6)], ids=str)
@pytest.mark.parametrize("dtype", ["u1", ">u2", "f4"])
def test_pages_are_rows(dtype: str, shape: tuple[int, ...], compression: str | None, tmp_path: Path) -> None:
    rows = noise(*shape, dtype=dtype)
    photometric = "rgb" if shape[-1] == 3 and dtype != "f4" else "minisblack"
    order = ">" if dtype[0] == ">" else "<"
    tifffile.imwrite(tmp_path / "a.tif", rows, compression=compression, photometric=photometric, byteorder=order)
    source = open_source(tmp_path / "a.tif")
    assert same(gather(source, 3), rows)
    assert same(gather(source, 1)[1:], rows[1:])
    assert all(same(batch, rows[1:3]) for batch in source.batches(2, 1, 3))
    copy(source, tmp_path / "out.tiff")
    assert same(tifffile.imread(tmp_path / "out.tiff"), rows)
    assert open_source(tmp_path / "out.tiff").spec.dtype.newbyteorder("=") == source.spec.dtype.newbyteorder("=")


def test_one_page_is_one_row_and_a_stack_is_known_by_content(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(5, 6, 3), photometric="rgb")
    (tmp_path / "a.tif").rename(tmp_path / "nameless")
    assert same(gather(open_source(tmp_path / "nameless")), noise(5, 6, 3)[None])


def test_what_is_no_stack(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0 but no more than this")
    with pytest.raises(InputError, match="cannot be read as a TIFF"):
        open_source(tmp_path / "a.tif")
    _pages(tmp_path)
    with pytest.raises(InputError, match="pages of 2 different kinds"):
        open_source(tmp_path / "a.tif")
    for rows in (noise(4, 5), noise(4, 5, 6, dtype="?"), noise(0, 5, 6)):
        with pytest.raises(DestinationError, match=r"are none: write to \.npy"):
            copy(open_source(rows), tmp_path / "out.tif")


# --- writing --------------------------------------------------------------------------------------------------------

pictures = hnp.arrays(
    st.sampled_from(["?", "u1", "<u2", ">u2", "i2", "f2", ">f4", "f8"]),
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
    | st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5)),
)


@pytest.mark.parametrize("form", ["images", "tar"])
@relaxed
@given(rows=pictures)
def test_any_pictures_come_back(form: str, rows: Array, tmp_path: Path) -> None:
    copy(open_source(rows), tmp_path / "out", format=form, force=True)
    assert same(gather(open_source(tmp_path / "out", format=form)), rows)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_rows_that_are_no_pictures(tmp_path: Path) -> None:
    for rows in (noise(4), noise(4, 5), noise(4, 0, 5)):
        with pytest.raises(DestinationError, match="no pictures"):
            copy(open_source(rows), tmp_path / "out.tar")
    assert not list(tmp_path.iterdir())


def test_the_same_pictures_make_the_same_tar(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        copy(open_source(noise(3, 4, 5)), tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    source = open_source(noise(4, 5, 6))
    sink = open_sink(tmp_path / "out", source.spec, {"format": "images"})
    sink.write(noise(3, 5, 6))
    with pytest.raises(DestinationError, match="3 of 4 rows"):
        sink.commit()
    sink.abort()
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_a_folder_is_replaced_by_force_if_it_holds_pictures_alone(tmp_path: Path) -> None:
    source = open_source(noise(2, 5, 6))
    (tmp_path / "out").mkdir()
    copy(source, tmp_path / "out", format="images")
    with pytest.raises(DestinationError, match="exists already"):
        copy(source, tmp_path / "out", format="images")
    copy(open_source(noise(1, 2, 3)), tmp_path / "out", format="images", force=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.png"]
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(DestinationError, match="holds other things"):
        copy(source, tmp_path / "out", format="images", force=True)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(DestinationError, match="is a file"):
        copy(source, tmp_path / "file", format="images", force=True)


def test_a_file_in_the_way_of_a_picture_is_no_part_of_the_set(tmp_path: Path) -> None:
    rows, file = noise(2, 5, 6), io.BytesIO()
    Image.fromarray(rows[0]).save(file, "PNG")
    (tmp_path / "a.PNG").write_bytes(file.getvalue())
    assert same(gather(open_source(tmp_path)), rows[:1])


# --- names ----------------------------------------------------------------------------------------------------------


def pack(source: Path, archive: Path) -> None:
    aecompress.pack(source, archive, target=aecompress.Target("lossless"), model="none")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("tar", [False, True])
def test_names_come_back_through_an_archive(tar: bool, tmp_path: Path) -> None:
    rows, placed = noise(4, 5, 6), ["2.png", "10.tif", "b/1.PNG", "b/12.png"]
    (tmp_path / "set" / "b").mkdir(parents=True)
    for row, name in zip(rows, placed, strict=True):
        write = tifffile.imwrite if name.endswith("tif") else lambda path, row: Image.fromarray(row).save(path)
        write(tmp_path / "set" / name, row)
    pack(as_tar(tmp_path / "set", tmp_path / "set.tar") if tar else tmp_path / "set", tmp_path / "a.aec")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out")
    if tar:
        with tarfile.open(tmp_path / "out") as found:
            assert found.getnames() == placed
            found.extractall(tmp_path / "extracted", filter="data")
    out = tmp_path / ("extracted" if tar else "out")
    assert files(out) == sorted(placed)
    assert same(gather(open_source(out)), rows)
    assert names(open_source(out)) == placed
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "part", format="images", rows=(1, 3))
    assert files(tmp_path / "part") == ["10.tif", "b/1.PNG"]
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "one", format="images", where=pc.field("file") == "b/12.png")
    assert files(tmp_path / "one") == ["b/12.png"]


def test_jpeg_comes_back_as_png_under_a_name_that_is_free(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("a.jpeg", "a.jpg", "b.jpg"):
        Image.fromarray(noise(8, 8)).save(tmp_path / "set" / name)
    pack(tmp_path / "set", tmp_path / "a.aec")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out")
    assert files(tmp_path / "out") == ["a.jpg.png", "a.png", "b.png"]


def test_other_rows_get_numbers_and_other_columns_stay_behind(tmp_path: Path) -> None:
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(noise(3, 4, 5))
    aecompress.pack(pa.table({"x": column, "file": ["../a", "b", "c"]}), tmp_path / "a.aec", model="none")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out", format="images")
    assert files(tmp_path / "out") == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "a/../../b.png", ""])
def test_names_that_lead_out_of_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    columns = pa.record_batch({"file": [name]})
    source = open_source(noise(1, 4, 5))
    sink = open_sink(tmp_path / "out", source.spec, {"format": "images"}, columns=columns.schema)
    with pytest.raises(DestinationError, match="leads out of its folder"):
        sink.write(noise(1, 4, 5), columns)
    sink.abort()
    assert not list(tmp_path.iterdir())
