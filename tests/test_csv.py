"""Tables of numbers as text: read as people write them, written so that they are read as what they were."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import aecompress
from aecompress.config import Target
from aecompress.errors import DestinationError, InputError
from aecompress.sinks import open_sink
from aecompress.sources import open_source

Array = np.ndarray[Any, Any]

relaxed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def gather(source: Any, rows: int = 3, start: int = 0) -> Array:
    found = list(source.batches(rows, start))
    return np.concatenate([np.empty((0, *source.spec.row_shape), source.spec.native), *found])


def copy(source: Any, dest: Path) -> Path:
    sink = open_sink(dest, source.spec, source.origin, force=True)
    for batch in source.batches(3):
        sink.write(batch)
    sink.commit()
    return dest


def table(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / name


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", [",", "\t", ";", "|", " "])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiter_and_header_are_detected(between: str, header: bool, end: str, tmp_path: Path) -> None:
    lines = [["id", "x y" if between != " " else "x", "z"]] * header + [["1", "2", "-3"], ["4", "5", "6"]]
    source = open_source(table(tmp_path, end.join(between.join(line) for line in lines) + end))
    assert source.spec.describe() == "2 x 3 int64"
    assert gather(source).tolist() == [[1, 2, -3], [4, 5, 6]]
    assert source.origin["delimiter"] == between
    assert ("schema" in source.origin) == header


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n3,4", [[1, 2], [3, 4]]),
        ("a,b\n1,2\n\n3,4\n\n", [[1, 2], [3, 4]]),
        ("a,b\n1,\n,2.5\n", [[1.0, math.nan], [math.nan, 2.5]]),
        ("a,b\nNA,inf\n-inf, 1 \n", [[math.nan, math.inf], [-math.inf, 1.0]]),
        ('"a, of b","c"\n"1","2"\n', [[1, 2]]),
        ("\ufeffa,b\n1,2\n", [[1, 2]]),
        ("x\n1\n\n2\n", [1.0, math.nan, 2.0]),
        ("x\n1\n2\n", [1, 2]),
        ("7\n8\n", [7, 8]),
        ("a,b\n", np.empty((0, 2), np.int64)),
        ("a,a\n1,2\n", [[1, 2]]),
        ("a,b\n1,9223372036854775808\n", [[1.0, 2.0**63]]),
        ("1.5;2\n3;4", [[1.5, 2.0], [3.0, 4.0]]),
    ],
)
def test_tables_as_people_write_them(text: str, rows: Any, tmp_path: Path) -> None:
    found, expected = gather(open_source(table(tmp_path, text))), np.asarray(rows)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")


def test_names_come_back(tmp_path: Path) -> None:
    text = '"mass; GeV";pt;pt\n1.5;2.0;-0.0\nnan;1e-7;4.0\n'
    source = open_source(table(tmp_path, text))
    assert copy(source, tmp_path / "out").read_text() == text
    assert copy(source, tmp_path / "out.tsv").read_text() == text.replace('"mass; GeV"', "mass& GeV").translate(
        {ord(";"): "\t", ord("&"): ";"}
    )
    copy(source, tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").names == ["mass; GeV", "pt", "pt"]
    again = copy(open_source(tmp_path / "out.parquet"), tmp_path / "again.csv")
    assert again.read_text().splitlines()[:2] == ["mass; GeV,pt,pt", "1.5,2.0,-0.0"]


def test_a_table_of_many_blocks_is_read_from_any_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aecompress.sources.csv._BLOCK_BYTES", 100)
    monkeypatch.setattr("aecompress.sources.csv._SAMPLE_BYTES", 100)
    rows = np.arange(600).reshape(200, 3)
    text = "a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)
    source = open_source(table(tmp_path, text))
    assert source.spec.dtype == np.int64
    for start in (0, 1, 57, 199, 200):
        assert np.array_equal(gather(source, 7, start), rows[start:])
    late = open_source(table(tmp_path, text + "1,,2\n"))
    assert late.spec.dtype == np.float64
    assert np.array_equal(gather(late, 7, 150)[:-1], rows[150:])
    with pytest.raises(InputError, match=r"column 'b' holds 'two' in row 200, which is no number"):
        open_source(table(tmp_path, text + "1,two,2\n"))
    with pytest.raises(InputError, match=r"has 2 cells in row 200, and 3 in the first"):
        open_source(table(tmp_path, text + "1,2\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name,x\nParis,\n1,Rome\n2,3\n",
            r"column 'name' holds 'Paris' in row 0, which is no number; leave that column out",
        ),
        ("name,place\nParis,here\n", r"has words in all of its columns, and no numbers"),
        ("name,x,x\nParis,1,2\n", r"columns of words, and two columns of one name"),
        ("1,2\n3,4\n5,x\n", r"column 1 holds 'x' in row 2"),
        ("a,b\n1,true\n2,0\n", r"column 'b' holds 'true'"),
        ("a;b\n1,5;2\n", r"column 'a' holds '1,5'"),
        ("a,b\n1,2,3\n", r"3 cells in row 0, and 2 in the first"),
        ("\n1,2\n", "begins with an empty line"),
        ("a,b\n1,2\n".encode("utf-16"), "is in UTF-16; save it in UTF-8"),
        (b"\xff\xfa,b\n1,2\n", "no table of numbers in UTF-8"),
        ("a,b\n1,2\n1," + "9" * 60 + "x\n", r"holds '9{40}\.\.\.'"),
    ],
)
def test_what_is_no_table_of_numbers(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_source(table(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aecompress.sources.csv._LONGEST_LINE", 1000)
    monkeypatch.setattr("aecompress.sources.csv._BLOCK_BYTES", 100)
    with pytest.raises(InputError, match="has a line of more than"):
        open_source(table(tmp_path, "a,b\n1,2\n" + "3," * 1000))


# --- writing --------------------------------------------------------------------------------------------------------

tables = hnp.arrays(
    st.sampled_from(["?", "i1", "<u2", ">i4", "i8", "<f2", ">f4", "<f8"]),
    hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=5),
)


@pytest.mark.parametrize("extension", [".csv", ".tsv"])
@relaxed
@given(rows=tables)
def test_values_come_back_through_text(extension: str, rows: Array, tmp_path: Path) -> None:
    """Every value, and whether it was a float; -0.0 too."""
    path = copy(open_source(rows), tmp_path / f"out{extension}")
    found = gather(open_source(path))
    # One column is rows of one number.
    expected = rows.reshape(len(rows), *((rows.shape[1],) if rows.ndim > 1 and rows.shape[1] > 1 else ()))
    assert found.dtype.kind == ("f" if rows.dtype.kind == "f" else "i")
    assert found.shape == expected.shape
    if rows.dtype.kind == "f":  # all NaN are one
        expected = np.where(np.isnan(expected), np.nan, expected).astype(rows.dtype)
    assert found.astype(rows.dtype).tobytes() == expected.tobytes()


def test_other_readers_agree(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).normal(size=(20, 3))
    path = copy(open_source(rows), tmp_path / "out.csv")
    assert np.array_equal(np.loadtxt(path, delimiter=","), rows)
    read = pyarrow.csv.read_csv(path, pyarrow.csv.ReadOptions(autogenerate_column_names=True))
    assert np.array_equal(np.stack([column.to_numpy() for column in read.columns], 1), rows)


def test_rows_that_are_no_lines(tmp_path: Path) -> None:
    for rows in (np.zeros((2, 3, 4)), np.zeros((2, 0))):
        with pytest.raises(DestinationError, match="holds rows of one axis"):
            copy(open_source(rows), tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_a_tensor_column_has_no_names_for_its_values(tmp_path: Path) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6.0)), 2)
    copy(open_source(pa.table({"embedding": column})), tmp_path / "out.csv")
    assert np.loadtxt(io.StringIO((tmp_path / "out.csv").read_text()), delimiter=",").tolist() == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]


# --- words ----------------------------------------------------------------------------------------------------------

LOSSLESS = Target("lossless")


def through_an_archive(source: Any, tmp_path: Path, name: str = "out") -> str:
    aecompress.pack(source, tmp_path / "a.aec", target=LOSSLESS, model="none", force=True)
    aecompress.unpack(tmp_path / "a.aec", tmp_path / name, force=True)
    return (tmp_path / name).read_bytes().decode()


@pytest.mark.parametrize(
    "text",
    [
        "name,x,y\nParis,1.5,2.0\nRome,3.0,4.0\n",
        "x,day,y\n1,2024-01-31,2\n3,,4\n",
        "Paris;1\nRome;2\n",
        'n,said\n1,"yes, ""so"""\n2,"two\nlines"\n3, spaced \n4,NA\n',
        "x\tword\n1\ta,b\n",
        "x,word\n1,w;;;;;\n2,w|3|4\n",
    ],
)
def test_columns_of_words_come_back(text: str, tmp_path: Path) -> None:
    assert through_an_archive(table(tmp_path, text), tmp_path) == text


def test_words_stand_beside_the_array(tmp_path: Path) -> None:
    source = open_source(table(tmp_path, "city,x,y\nParis,1,\nRome,,4.5\n"))
    assert np.array_equal(gather(source), [[1.0, math.nan], [math.nan, 4.5]], equal_nan=True)
    through_an_archive(source, tmp_path)
    archive = aecompress.open(tmp_path / "a.aec")
    assert archive.rows.to_table()["city"].to_pylist() == ["Paris", "Rome"]
    assert [len(rows) for _, rows in archive.where("city == 'Rome'")] == [1]
    aecompress.verify(tmp_path / "a.aec", against=tmp_path / "t.csv")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").names == ["city", "x", "y"]


words = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6).map(lambda text: f"w{text}")


@relaxed
@given(rows=st.lists(st.tuples(words, st.integers(-99, 99), words), min_size=1, max_size=9))
def test_any_words_come_back(rows: list[tuple[str, int, str]], tmp_path: Path) -> None:
    """Quotes, delimiters and ends of lines in them too, wherever blocks end."""
    left, numbers, right = (list(column) for column in zip(*rows, strict=True))
    data = open_source(pa.table({"left": left, "x": pa.array(numbers, pa.int64()), "right": right}), member="x")
    assert data.columns is not None
    sink = open_sink(tmp_path / "out.csv", data.spec, data.origin, columns=data.columns.schema, force=True)
    for batch, columns in zip(data.batches(100), data.columns.batches(0, 100), strict=True):
        sink.write(batch, columns)
    sink.commit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aecompress.sources.csv._BLOCK_BYTES", 16)
        source = open_source(tmp_path / "out.csv")
        assert source.columns is not None
        assert gather(source).tolist() == numbers
        beside = pa.Table.from_batches(source.columns.batches(0, 2), source.columns.schema)
        assert beside.to_pydict() == {"left": left, "right": right}
        assert [len(batch) for batch in source.columns.batches(len(rows) - 1, 2)] == [1]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == len(rows) + 1


def test_what_stands_beside_an_array_is_written(tmp_path: Path) -> None:
    """What goes into a cell: no lists and no bytes."""
    data = pa.table(
        {
            "id": [7, None],
            "raw": [b"a", b"b"],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2),
            "tags": [["a"], []],
            "when": pa.array([0, 60], pa.timestamp("s")),
            "level": [1.0, 0.5],
        }
    )
    assert through_an_archive(open_source(data, member="embedding"), tmp_path, "out.csv") == (
        "id,embedding_0,embedding_1,when,level\n"
        "7,1.0,2.0,1970-01-01 00:00:00.000,1.0\n"
        ",3.0,4.0,1970-01-01 00:01:00.000,0.5\n"
    )


def test_an_array_without_what_stood_beside_it(tmp_path: Path) -> None:
    data = pa.table({"name": ["a", "b"], "x": [1.0, 2.0], "y": [3.0, 4.0]})
    assert copy(open_source(data), tmp_path / "out.csv").read_text() == "x,y\n1.0,3.0\n2.0,4.0\n"
