"""Data sets of Hugging Face as sources: objects, streams, and folders on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import aecompress
from aecompress.errors import InputError
from aecompress.sources import open_source

datasets = pytest.importorskip("datasets")

ROWS = np.random.default_rng(1).normal(size=(23, 4)).astype(np.float32)
CARDS = np.random.default_rng(2).integers(0, 256, (23, 5, 6)).astype(np.uint8)


@pytest.fixture(scope="module")
def vectors() -> Any:
    """Vectors, and labels beside them."""
    kinds = {"x": datasets.List(datasets.Value("float32")), "label": datasets.Value("string")}
    return datasets.Dataset.from_dict(
        {"x": ROWS.tolist(), "label": [f"row {i}" for i in range(23)]}, features=datasets.Features(kinds)
    )


@pytest.fixture(scope="module")
def pictures() -> Any:
    kinds = {"picture": datasets.Array2D(shape=(5, 6), dtype="uint8"), "label": datasets.Value("int64")}
    return datasets.Dataset.from_dict({"picture": CARDS, "label": range(23)}, features=datasets.Features(kinds))


def gather(source: Any, *part: int) -> np.ndarray[Any, Any]:
    return np.concatenate(list(source.batches(5, *part)))


def labels(source: Any) -> list[Any]:
    return [value for batch in source.columns.batches(0, 5) for value in batch.column("label").to_pylist()]


def test_an_object_is_read_as_it_is_seen(vectors: Any) -> None:
    source = open_source(vectors)
    assert source.spec.describe() == "23 x 4 float32"
    assert np.array_equal(gather(source), ROWS)
    assert np.array_equal(gather(source, 7, 11), ROWS[7:11])
    assert labels(source)[:2] == ["row 0", "row 1"]
    mixed = vectors.shuffle(seed=3).select(range(9))
    assert np.array_equal(gather(open_source(mixed)), np.array(mixed["x"], np.float32))
    assert labels(open_source(mixed)) == list(mixed["label"])


def test_arrays_keep_their_shape(pictures: Any, tmp_path: Path) -> None:
    assert np.array_equal(gather(open_source(pictures, member="picture")), CARDS)
    pictures.save_to_disk(tmp_path / "saved", num_shards=3)
    assert np.array_equal(gather(open_source(f"{tmp_path}/saved::picture")), CARDS)


def test_a_stream_is_read_once(vectors: Any) -> None:
    source = open_source(vectors.to_iterable_dataset(num_shards=2))
    assert not source.replayable
    assert np.array_equal(gather(source), ROWS)


def test_a_folder_goes_through_an_archive(vectors: Any, tmp_path: Path) -> None:
    vectors.save_to_disk(tmp_path / "saved", num_shards=3)
    source = open_source(tmp_path / "saved")
    assert source.spec.describe() == "23 x 4 float32"
    assert np.array_equal(gather(source, 6, 17), ROWS[6:17])
    aecompress.pack(tmp_path / "saved", tmp_path / "a.aec", target=aecompress.Target("lossless"), model="none")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out.parquet")
    back = datasets.Dataset(pq.read_table(tmp_path / "out.parquet"))
    assert back.features == vectors.features
    assert back.to_dict() == vectors.to_dict()


def test_splits_are_chosen_by_the_user(vectors: Any, tmp_path: Path) -> None:
    splits = datasets.DatasetDict({"train": vectors, "test": vectors.select(range(3))})
    with pytest.raises(InputError, match=r"splits train, test; give one, as in data\['train'\]"):
        open_source(splits)
    splits.save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"splits train, test; give one, as in .*saved/train"):
        open_source(tmp_path / "saved")
    assert open_source(tmp_path / "saved" / "test").spec.rows == 3


def test_what_is_no_data_set(vectors: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty, so its columns are unknown"):
        open_source(vectors.to_iterable_dataset().take(0))
    (tmp_path / "state.json").write_text('{"_data_files": []}')
    with pytest.raises(InputError, match="no whole data set of save_to_disk"):
        open_source(tmp_path)
