"""Tables packed whole: some columns make the array, the others come back beside it, and rows are chosen by them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.archive import Archive
from aecompress.cli import cli
from aecompress.errors import CorruptError, DestinationError, InputError, VerificationError
from aecompress.shards import table as tables
from aecompress.shards import writer
from aecompress.sinks import open_sink
from aecompress.sources import open_source, spool
from aecompress.sources.base import Source
from aecompress.trainer import sampling

ROWS = 300
BOUND = aecompress.Target("max-error", 0.01)


def embeddings(rows: int = ROWS) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).normal(size=(rows, 4)).cumsum(0).astype(np.float32)


def make(rows: int = ROWS) -> pa.Table:
    """A table with an embedding in the middle and all kinds of columns around it."""
    numbers = np.arange(rows)
    table = pa.table(
        {
            "id": numbers * 7,
            "name": [None if row % 5 == 0 else f"row {row}" for row in range(rows)],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings(rows).reshape(-1)), 4),
            "label": pa.array(numbers % 10, pa.int8()),
            "score": numbers / 8,
            "when": pa.array(numbers * 60, pa.timestamp("s", "UTC")),
            "split": pa.array(["train", "test", "test"] * (rows // 3)).dictionary_encode(),
            "boxes": [[{"x": row, "tags": ["a"] * (row % 3)}] * (row % 2) for row in range(rows)],
            "good": numbers % 2 == 0,
        }
    )
    schema = table.schema.with_metadata({"owner": "me"})
    schema = schema.set(0, schema.field(0).with_nullable(False).with_metadata({"unit": "none"}))
    return table.cast(schema)


def without_array(table: pa.Table, name: str = "embedding") -> list[dict[str, Any]]:
    return table.drop([name]).to_pylist()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 40 rows, two of them a part, and no waiting for the disk."""
    monkeypatch.setattr(sampling, "BLOCK_VALUES", 160)
    monkeypatch.setattr(writer, "PART_BYTES", 6000)
    monkeypatch.setattr(tables, "GROUP_ROWS", 50)
    monkeypatch.setattr(tables, "PIECE_ROWS", 30)
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table as Parquet, and its archive."""
    folder = tmp_path_factory.mktemp("packed")
    pq.write_table(make(), folder / "in.parquet", row_group_size=70)
    with pytest.MonkeyPatch.context() as patch:
        small_blocks.__wrapped__(patch)  # type: ignore[attr-defined]
        aecompress.pack(folder / "in.parquet", folder / "a.aec", target=BOUND, model="none")
    return folder


# Round trips


def test_a_table_comes_back_whole(packed: Path, tmp_path: Path) -> None:
    source = pq.read_table(packed / "in.parquet")
    for dest in ("out.parquet", "out.arrow"):
        assert aecompress.unpack(packed / "a.aec", tmp_path / dest) == ROWS
        found = pads.dataset(tmp_path / dest, format=dest.rpartition(".")[2]).to_table()
        assert found.schema.equals(source.schema, check_metadata=True)
        assert without_array(found) == without_array(source)
        array = np.array(found["embedding"].to_pylist(), np.float32)
        assert np.abs(array - embeddings()).max() <= 0.01


def test_other_formats_get_the_array_alone(packed: Path, tmp_path: Path) -> None:
    aecompress.unpack(packed / "a.aec", tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").shape == (ROWS, 4)


def test_a_range_of_rows_has_its_columns(packed: Path, tmp_path: Path) -> None:
    aecompress.unpack(packed / "a.aec", tmp_path / "out.parquet", rows=(35, 130))
    assert without_array(pq.read_table(tmp_path / "out.parquet")) == without_array(make().slice(35, 95))


@pytest.mark.parametrize("rows", [0, 1])
def test_small_tables_come_back(rows: int, tmp_path: Path) -> None:
    pq.write_table(make(3).slice(0, rows), tmp_path / "in.parquet")
    source = pq.read_table(tmp_path / "in.parquet")
    aecompress.pack(tmp_path / "in.parquet", tmp_path / "a.aec", target=BOUND, model="none")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.schema.equals(source.schema, check_metadata=True)
    assert without_array(found) == without_array(source)
    assert Archive(tmp_path / "a.aec").rows.count_rows() == rows


def sources(folder: Path) -> dict[str, Any]:
    table = make()
    (folder / "parts").mkdir()
    for part, start in enumerate(range(0, ROWS, 110)):
        pq.write_table(table.slice(start, 110), folder / "parts" / f"{part}.parquet", row_group_size=33)
    for name, opening in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        with opening(str(folder / f"{name}.arrow"), table.schema) as out:
            out.write_table(table, max_chunksize=47)
    return {
        "table": table,
        "dataset": pads.dataset(folder / "parts", format="parquet"),
        "folder": folder / "parts",
        "file": folder / "file.arrow",
        "stream": folder / "stream.arrow",
        "reader": pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=13)),
    }


@pytest.mark.parametrize("kind", ["table", "dataset", "folder", "file", "stream", "reader"])
def test_every_source_of_tables_carries_its_columns(kind: str, tmp_path: Path) -> None:
    source = open_source(sources(tmp_path)[kind])
    if not source.replayable:
        source = spool(source, tmp_path)
    assert np.array_equal(np.concatenate(list(source.batches(64))), embeddings())
    for start in (0, 100):
        assert read_columns(source, start) == without_array(make().slice(start))


def read_columns(source: Source, start: int) -> list[dict[str, Any]]:
    assert source.columns is not None
    found = list(source.columns.batches(start, 32))
    assert all(batch.schema.names == source.columns.schema.names for batch in found)
    return [row for batch in found for row in batch.to_pylist()]


def test_a_stream_is_packed_with_its_columns(tmp_path: Path) -> None:
    reader = pa.RecordBatchReader.from_batches(make().schema, make().to_batches(max_chunksize=13))
    aecompress.pack(reader, tmp_path / "a.aec", target=BOUND, model="none")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out.parquet")
    assert without_array(pq.read_table(tmp_path / "out.parquet")) == without_array(make())


def test_columns_of_what_was_no_table_follow_the_values(tmp_path: Path) -> None:
    columns = pa.schema([("file", pa.string()), ("values", pa.int8())])
    spec = open_source(embeddings(2)).spec
    sink = open_sink(tmp_path / "out.parquet", spec, {"format": "images"}, columns=columns)
    sink.write(embeddings(2), pa.record_batch([["a.png", "b.png"], pa.array([1, 2], pa.int8())], schema=columns))
    sink.commit()
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.schema.names == ["values_", "file", "values"]
    assert found["file"].to_pylist() == ["a.png", "b.png"]


# Which columns make the array


@pytest.mark.parametrize(
    ("columns", "array"),
    [
        ("id:i8 x:f4 y:f4 z:f4 name:s", "x y z"),
        ("id:i8 label:i8 name:s", "id label"),
        ("id:i8 label:i8", "id label"),
        ("x:f4 y:f4", "x y"),
        ("id:i8 e:[f4] tags:[s]", "e"),
        ("e:[f4] tokens:[i8] x:f4", "e"),
        ("e:[f4;2] f:[f4]", "e"),
        ("picture:[u1;2] score:f8", "picture"),
        ("score:f8 tokens:[i8]", "score"),
        ("tokens:[i8] id:i8", "tokens"),
    ],
)
def test_the_array_is_evident(columns: str, array: str) -> None:
    source = open_source(table_of(columns))
    names = source.origin.get("array", [word.partition(":")[0] for word in columns.split()])
    assert names == array.split()
    assert source.spec.rows == 2


@pytest.mark.parametrize("columns", ["x:f4 y:f8 name:s", "a:[f4] b:[f4]", "a:i8 b:i4 name:s", "name:s", "d:[s]"])
def test_what_is_not_evident_is_asked_for(columns: str) -> None:
    with pytest.raises(InputError, match=r"do not make rows of one dtype; it has .*as in table::\w+"):
        open_source(table_of(columns))


@pytest.mark.parametrize(
    ("columns", "member", "shape"),
    [
        ("x:f4 y:f8 name:s", "y", (2,)),
        ("a:[f4] b:[f4] c:[f4]", "c,a", (2, 2, 2)),
        ("x:f4 y:f4 z:f4", "z, x", (2, 2)),
        ("x,y:f4 z:f8", "x,y", (2,)),
    ],
)
def test_the_array_can_be_named(columns: str, member: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    table = table_of(columns)
    pq.write_table(table, tmp_path / "in.parquet")
    for source in (open_source(table, member=member), open_source(f"{tmp_path}/in.parquet::{member}")):
        assert source.spec.shape == shape
        assert source.columns is not None
        assert sorted([*source.columns.schema.names, *source.origin["array"]]) == sorted(table.schema.names)
    rows = next(source.batches(9))
    aecompress.pack(source, tmp_path / "a.aec", target=aecompress.Target("lossless"), model="none")
    assert np.array_equal(Archive(tmp_path / "a.aec")[:], rows)
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").equals(table)


@pytest.mark.parametrize("member", ["y", "x,y", "x,name", "x,x", "x,e", "name", ","])
def test_columns_that_make_no_array_cannot_be_named(member: str) -> None:
    with pytest.raises(InputError, match=r"no column|do not make rows of one dtype"):
        open_source(table_of("x:f4 e:[f4] name:s"), member=member)
    with pytest.raises(InputError, match="which has none"):
        open_source(embeddings(), member=member)


def test_lists_of_two_lengths_do_not_stand_side_by_side() -> None:
    table = pa.table({"a": [[1.0], [2.0]], "b": [[1.0, 2.0], [3.0, 4.0]]})
    with pytest.raises(InputError, match=r"lists of a, b differ in length"):
        open_source(table, member="a,b")


def table_of(columns: str) -> pa.Table:
    """Two rows of columns such as ``name:s``, ``x:f4``, ``e:[f4]`` and ``e:[f4;2]``."""
    kinds = {"s": pa.string(), "f4": pa.float32(), "f8": pa.float64()} | {
        f"{kind}{size}": getattr(pa, f"{'u' * (kind == 'u')}int{8 * size}")() for kind in "iu" for size in (1, 2, 4, 8)
    }
    made = {}
    for word in columns.split():
        name, _, kind = word.partition(":")
        value = kinds[kind.strip("[]").partition(";")[0]]
        single = pa.array([1, 2]).cast(value)
        lists = pa.array([single[:2].to_pylist()] * 2, pa.list_(value, 2 if ";" in kind else -1))
        made[name] = lists if "[" in kind else single
    return pa.table(made)


# Any schema

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float16(), st.sampled_from([0.0, -0.5, 2.0])),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.string(), texts),
    (pa.large_string(), texts),
    (pa.string_view(), texts),
    (pa.binary(), st.binary(max_size=5)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.dates()),
    (pa.timestamp("s"), st.integers(-(2**33), 2**33)),
    (pa.timestamp("ns", "Europe/Paris"), st.integers(-(2**62), 2**62)),
    (pa.time32("s"), st.integers(0, 86399)),
    (pa.duration("ms"), st.integers(-(2**40), 2**40)),
    (pa.decimal128(9, 2), st.decimals(-999, 999, places=2)),
    (pa.dictionary(pa.int8(), pa.string()), texts),
    (pa.null(), st.none()),
]
kinds = st.sampled_from(KINDS)
nested = st.one_of(
    kinds,
    kinds.map(lambda k: (pa.list_(k[0]), st.lists(k[1] | st.none(), max_size=3))),
    st.tuples(kinds, kinds).map(
        lambda k: (
            pa.struct([("a", k[0][0]), ("b", k[1][0])]),
            st.fixed_dictionaries({"a": k[0][1] | st.none(), "b": k[1][1] | st.none()}),
        )
    ),
)


@st.composite
def any_table(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 9))
    names = draw(st.lists(texts, min_size=1, max_size=4, unique=True).filter(lambda n: not {"_row", "_block"} & {*n}))
    made = {}
    for name in names:
        kind, values = draw(nested)
        made[name] = pa.array(draw(st.lists(values | st.none(), min_size=rows, max_size=rows)), kind)
    place = draw(st.integers(0, len(names)))
    tensor = pa.array(np.arange(rows * 6, dtype=np.int16).reshape(rows, 6).tolist(), pa.list_(pa.int16(), 6))
    return pa.table(made).add_column(place, "the array", tensor)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=any_table())
def test_any_schema_comes_back(source: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    opened = open_source(source, member="the array")
    aecompress.pack(opened, folder / "a.aec", target=aecompress.Target("lossless"), model="none")
    aecompress.unpack(folder / "a.aec", folder / "out.arrow")
    with pa.ipc.open_file(str(folder / "out.arrow")) as reader:
        found = reader.read_all()
    assert found.schema.equals(source.schema, check_metadata=True)
    assert found.to_pylist() == source.to_pylist()
    aecompress.verify(folder / "a.aec", against=opened)


# Resume and damage


def pack_part(folder: Path, source: Path) -> None:
    """Begin to pack, and stop once two parts are finished."""
    finished = writer.finish

    def two(*args: Any) -> Any:
        if args[2]:
            raise KeyboardInterrupt
        return finished(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "finish", two)
        with pytest.raises(KeyboardInterrupt):
            aecompress.pack(source, folder, target=BOUND, model="none")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_resumed_pack_ends_in_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    pack_part(tmp_path / "a.aec", packed / "in.parquet")
    staged = {path.name for path in (tmp_path / "a.aec" / "_staging" / "rows").iterdir()}
    assert staged == {"part-00000.parquet"}
    aecompress.pack(packed / "in.parquet", tmp_path / "a.aec", target=BOUND, model="none", resume=True)
    assert len(list((tmp_path / "a.aec" / "rows").iterdir())) > 2
    assert tree(tmp_path / "a.aec") == tree(packed / "a.aec")


def test_a_pack_is_not_resumed_with_other_columns(packed: Path, tmp_path: Path) -> None:
    pack_part(tmp_path / "a.aec", packed / "in.parquet")
    changed = make().set_column(3, "label", pa.array([1] * ROWS, pa.int8()))
    pq.write_table(changed, tmp_path / "in.parquet")
    with pytest.raises(DestinationError, match="other settings"):
        aecompress.pack(tmp_path / "in.parquet", tmp_path / "a.aec", target=BOUND, model="none", resume=True)


def test_verify_compares_columns(packed: Path) -> None:
    facts = aecompress.verify(packed / "a.aec", against=packed / "in.parquet")
    assert facts["bound_kept"]
    aecompress.verify(packed / "a.aec", against=embeddings())
    changed = make().set_column(3, "label", pa.array([3] * ROWS, pa.int8()))
    with pytest.raises(VerificationError, match="columns beside the array are not those of the source"):
        aecompress.verify(packed / "a.aec", against=changed)
    with pytest.raises(VerificationError, match=r"the source .*they differ"):
        aecompress.verify(packed / "a.aec", against=make().drop(["label"]))


def test_verify_finds_a_damaged_table(tmp_path: Path) -> None:
    source = make(30)
    aecompress.pack(source, tmp_path / "a.aec", target=BOUND, model="none")
    part = tmp_path / "a.aec" / "rows" / "part-00000.parquet"
    data = part.read_bytes()
    for wrong in (data[:-1], data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :]):
        part.write_bytes(wrong)
        with pytest.raises(CorruptError, match="rows/part-00000"):
            aecompress.verify(tmp_path / "a.aec")
        with pytest.raises(CorruptError, match="rows/part-00000"):
            _ = aecompress.open(tmp_path / "a.aec").rows
        with pytest.raises(CorruptError, match="rows/part-00000"):
            aecompress.unpack(tmp_path / "a.aec", tmp_path / "out.parquet")
        assert not (tmp_path / "out.parquet").exists()


def test_an_array_alone_takes_no_more_than_before(tmp_path: Path) -> None:
    aecompress.pack(embeddings(), tmp_path / "a.aec", target=BOUND, model="none")
    assert not (tmp_path / "a.aec" / "rows").exists()
    archive = aecompress.open(tmp_path / "a.aec")
    assert archive.columns == ()
    for ask in (lambda: archive.rows, lambda: archive.where("label == 3"), lambda: next(archive.tables())):
        with pytest.raises(InputError, match="without columns beside it"):
            ask()


# Conditions


CONDITIONS: list[tuple[str, pc.Expression]] = [
    ("label == 3", pc.field("label") == 3),
    ("3 == label", pc.field("label") == 3),
    ("not label == 3", pc.field("label") != 3),
    ('label > 3 and split == "test"', (pc.field("label") > 3) & (pc.field("split") == "test")),
    ("label < 2 or label >= 9", (pc.field("label") < 2) | (pc.field("label") >= 9)),
    ("10 <= id < 100", (pc.field("id") >= 10) & (pc.field("id") < 100)),
    ("id <= 50.5", pc.field("id") <= 50.5),
    ("score > 2.5", pc.field("score") > 2.5),
    ("name is None", pc.field("name").is_null()),
    ("name is not None", pc.field("name").is_valid()),
    ('name in ["row 1", "row 12"]', pc.field("name").isin(["row 1", "row 12"])),
    ("good", pc.field("good")),
    ("not good and label != -1", ~pc.field("good")),
    ('column("label") == 3', pc.field("label") == 3),
    ('when < "1970-01-01T01:00:00Z"', pc.field("when") < pa.scalar(3600, pa.timestamp("s", "UTC"))),
    ('when >= "1970-01-01 01:00"', pc.field("when") >= pa.scalar(3600, pa.timestamp("s", "UTC"))),
    ("_row >= 290", pc.field("_row") >= 290),
    ("id == label", pc.field("id") == pc.field("label")),
]


@pytest.mark.parametrize(("text", "expression"), CONDITIONS, ids=[text for text, _ in CONDITIONS])
def test_conditions_mean_what_they_say(text: str, expression: pc.Expression, packed: Path) -> None:
    rows = make().append_column("_row", pa.array(range(ROWS))).append_column("place", pa.array(range(ROWS)))
    rows = rows.set_column(6, "split", rows["split"].cast(pa.string()))
    expected = rows.filter(expression)["place"].to_pylist()
    archive = aecompress.open(packed / "a.aec")
    for condition in (text, expression):
        selection = archive.where(condition)
        found = list(selection)
        assert len(selection) == len(expected)
        assert [row // 7 for columns, _ in found for row in columns["id"].to_pylist()] == expected
        decoded = [rows for _, rows in found]
        assert np.array_equal(np.concatenate([archive[:0], *decoded]), archive[expected])
        assert all(columns.schema.names == list(archive.columns) for columns, _ in found)


def test_what_is_missing_is_not_in_a_list_and_not_out_of_it(packed: Path) -> None:
    archive = aecompress.open(packed / "a.aec")
    missing = len(archive.where("name is None"))
    assert missing == ROWS // 5
    assert len(archive.where('name in ["row 1"]')) == 1
    assert len(archive.where('name not in ["row 1"]')) == ROWS - missing - 1
    assert len(archive.where('not (name in ["row 1"])')) == ROWS - missing - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels == 3", "no column 'labels', but _row, _block, id, name"),
        ("label", "neither true nor false"),
        ("label = 3", "not a whole one"),
        ("", "not a whole one"),
        ("(" * 300, "not a whole one"),
        ("label == 3 +", "not a whole one"),
        ("__import__('os').system('true') == 0", "are no columns"),
        ("label == __import__('os')", "neither a column nor a number"),
        ("label.real == 3", "are no columns"),
        ("column(label) == 3", "cannot be understood"),
        ("label == None", "is None"),
        ("label is 3", "by =="),
        ("label in 3", "is no list"),
        ("3 in label", "is no column"),
        ("label + 1 == 3", "are no columns"),
        ("1 == 1", "are no columns"),
        ("label == 'x'", "does not fit the columns"),
        ("label in ['x']", "cannot be understood"),
        ("label == 3 and " * 1000 + "good", "too long"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, message: str, packed: Path) -> None:
    with pytest.raises(InputError, match=message):
        aecompress.open(packed / "a.aec").where(text)


def test_expressions_of_other_columns_are_refused(packed: Path) -> None:
    for expression in (pc.field("nothing") == 1, pc.field("label") == "x"):
        with pytest.raises(InputError, match="does not fit the columns beside the array"):
            aecompress.open(packed / "a.aec").where(expression)


def test_only_blocks_with_rows_that_are_left_are_decoded(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    plain = Archive._decode

    def counting(self: Archive, block: Any) -> Any:
        decoded.append(block.start)
        return plain(self, block)

    monkeypatch.setattr(Archive, "_decode", counting)
    archive = aecompress.open(packed / "a.aec")
    assert [len(rows) for _, rows in archive.where(pc.field("id").isin([7 * row for row in (3, 5, 250)]))] == [2, 1]
    assert decoded == [0, 240]


@pytest.mark.parametrize("wrong", [{"_row": 7}, {"_row": 400}, {"_block": 41}, {"_block": -40}, {"_block": 10**12}])
def test_a_table_that_numbers_rows_wrongly_is_refused(wrong: dict[str, int], packed: Path) -> None:
    archive = aecompress.open(packed / "a.aec")
    rows = {"_row": 80, "_block": 80} | wrong
    numbers = pa.record_batch([pa.array([rows["_row"]] * 2), *([pa.array([0, 0])] * 8)], ["_row", *archive.columns])
    archive._reader.matching = lambda *_: iter([{rows["_block"]: numbers}])  # type: ignore[method-assign]
    with pytest.raises(CorruptError, match="table of rows"):
        list(archive.where("good"))


def test_unpack_takes_a_condition(packed: Path, tmp_path: Path) -> None:
    count = aecompress.unpack(packed / "a.aec", tmp_path / "out.parquet", where="label == 3", rows=(100, 250))
    assert count == 15
    places = list(range(103, 250, 10))
    assert without_array(pq.read_table(tmp_path / "out.parquet")) == without_array(make().take(places))
    aecompress.unpack(packed / "a.aec", tmp_path / "out.npy", where="label == 99")
    assert np.load(tmp_path / "out.npy").shape == (0, 4)
    aecompress.unpack(packed / "a.aec", tmp_path / "none.parquet", where="label == 99")
    assert pq.read_schema(tmp_path / "none.parquet").equals(pq.read_schema(packed / "in.parquet"))


def test_the_command_line_packs_tables_and_chooses_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> str:
        found = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
        assert found.exit_code == 0
        return found.stdout

    monkeypatch.chdir(tmp_path)
    pq.write_table(make(30), tmp_path / "in.parquet")
    told = run("pack", "in.parquet::embedding", "-o", "a.aec", "--max-error", "0.01", "--model", "none")
    assert "the columns beside the array" in told
    assert "id, name, label, score, when, split, boxes, good" in run("info", "a.aec")
    assert "3 rows written" in run("unpack", "a.aec", "-o", "out.parquet", "--where", "label == 3")
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [21, 91, 161]


# Latents


def pack_latents(source: Any, archive: Path, **options: Any) -> aecompress.Report:
    target = aecompress.Target("latent-dim", 2)
    return aecompress.pack(source, archive, target=target, model="pca", keep_latents=True, **options)


def test_latents_are_kept_beside_the_columns(tmp_path: Path) -> None:
    pack_latents(make(), tmp_path / "a.aec")
    archive = aecompress.open(tmp_path / "a.aec")
    assert archive.columns == tuple(name for name in make().schema.names if name != "embedding")
    latents = archive.latents()
    assert (latents.shape, latents.dtype) == ((ROWS, 2), np.dtype(np.float32))
    assert np.array_equal(archive.latents(35, 130), latents[35:130])
    assert archive.latents(7, 7).shape[0] == 0
    decoded = archive[:].astype(np.float64)
    apart = [np.linalg.norm(rows[:100] - rows[100:200], axis=1) for rows in (decoded, latents.astype(np.float64))]
    assert np.corrcoef(*apart)[0, 1] > 0.99  # latents are as far from each other as rows are
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").names == make().schema.names
    aecompress.verify(tmp_path / "a.aec", against=make())


def test_latents_of_an_array_alone_can_be_asked_for(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    pack_latents(embeddings(), tmp_path / "a.aec")
    archive = aecompress.open(tmp_path / "a.aec")
    assert archive.columns == ()
    assert len(archive.where("_row < 10")) == 10
    query = f"""
        with r as (from '{tmp_path}/a.aec/rows/*.parquet'), q as (select _latents as l from r where _row = 17)
        select _row from r, q order by list_distance(_latents::float[], l::float[]) limit 3
    """
    distances = np.linalg.norm(archive.latents() - archive.latents(17, 18), axis=1)
    found = [row for (row,) in duckdb.sql(query).fetchall()]  # of rows equally near, any may come
    assert np.allclose(distances[found], np.sort(distances)[:3])


def test_latents_that_are_not_there_say_so(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without --keep-latents"):
        aecompress.open(packed / "a.aec").latents()
    with pytest.raises(InputError, match="none, which has no latents to keep"):
        aecompress.pack(embeddings(), tmp_path / "a.aec", target=BOUND, model="none", keep_latents=True)
    with pytest.raises(InputError, match="named _latents"):
        aecompress.pack(make().rename_columns({"id": "_latents"}), tmp_path / "a.aec", target=BOUND, model="none")
    pack_latents(embeddings(20), tmp_path / "b.aec")
    with pytest.raises(InputError, match="has rows 0 to 20"):
        aecompress.open(tmp_path / "b.aec").latents(3, 21)


def test_a_pack_with_an_autoencoder_is_resumed(tmp_path: Path) -> None:
    """What only the encoder knows is staged too, until the archive is complete."""
    pack_latents(make(), tmp_path / "whole.aec")
    finished = writer.finish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "finish", lambda *args: finished(*args) if not args[2] else stop())
        with pytest.raises(KeyboardInterrupt):
            pack_latents(make(), tmp_path / "a.aec")
    pack_latents(make(), tmp_path / "a.aec", resume=True)
    assert tree(tmp_path / "a.aec") == tree(tmp_path / "whole.aec")


def stop() -> None:
    raise KeyboardInterrupt


# Other readers


def query(rows: str, name: str) -> Iterator[tuple[int, str | None, int]]:
    """(id, name, first row of the block) of the rows of label 3, as another reader of Parquet finds them."""
    if name == "duckdb":
        duckdb = pytest.importorskip("duckdb")
        yield from duckdb.sql(f"select id, name, _block from '{rows}' where label = 3 order by _row").fetchall()
    elif name == "polars":
        polars = pytest.importorskip("polars")
        yield from (
            polars.scan_parquet(rows).filter(polars.col("label") == 3).select("id", "name", "_block").collect().rows()
        )
    else:
        pandas = pytest.importorskip("pandas")
        found = pandas.read_parquet(Path(rows).parent).query("label == 3")
        yield from zip(
            found["id"], [None if n is pandas.NA or n != n else n for n in found["name"]], found["_block"], strict=True
        )


@pytest.mark.parametrize("name", ["duckdb", "polars", "pandas"])
def test_other_readers_take_the_table_as_it_is(name: str, packed: Path) -> None:
    found = list(query(f"{packed}/a.aec/rows/*.parquet", name))
    assert found == [(7 * row, None if row % 5 == 0 else f"row {row}", row // 40 * 40) for row in range(3, ROWS, 10)]


def test_duckdb_joins_rows_with_their_blocks(packed: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    rows, blocks = (f"'{packed}/a.aec/{name}/*.parquet'" for name in ("rows", "blocks"))
    found = duckdb.sql(
        f"select count(*), max(max_abs) from {rows} r join {blocks} b on r._block = b.row_start"
    ).fetchall()
    assert found[0][0] == ROWS
    assert found[0][1] <= 0.01


def test_values_of_every_kind_are_what_duckdb_and_polars_read(packed: Path) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    expected = make().slice(1, 1).to_pylist()[0]
    rows = f"{packed}/a.aec/rows/*.parquet"
    query = f"select boxes, split, good, epoch(\"when\") as seconds from '{rows}' where _row = 1"
    assert duckdb.sql(query).fetchall() == [(expected["boxes"], "test", False, 60.0)]
    found = polars.scan_parquet(rows).filter(polars.col("_row") == 1).collect().row(0, named=True)
    assert found["when"] == datetime.datetime(1970, 1, 1, 0, 1, tzinfo=datetime.UTC)
    assert found["boxes"] == expected["boxes"]
