"""Data sets of Hugging Face: objects of the package ``datasets``, and the folders that their ``save_to_disk`` writes.

Such a folder is a few Arrow streams and a list of them; neither kind needs the package to be imported here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from aecompress.errors import InputError
from aecompress.sources.arrow import arrow_source, open_arrow
from aecompress.sources.base import Source
from aecompress.sources.ipc import pieces, read_stream

#: Files that make a folder a data set, or one with a folder for each split.
STATE, SPLITS = "state.json", "dataset_dict.json"

_STREAM_ROWS = 1000


def open_dataset(data: Any, member: str = "") -> Source:
    """A source over a ``Dataset``, or a stream over an ``IterableDataset``; ``member`` names the columns of the array.

    Raises:
        InputError: it is a dictionary of splits, is empty, or its columns do not make rows of one dtype and shape.
    """
    if isinstance(data, dict):
        raise InputError(f"The data set has the splits {', '.join(data)}; give one, as in data[{next(iter(data))!r}].")
    plain = data.with_format("arrow")
    if not hasattr(data, "__len__"):
        tables = plain.iter(_STREAM_ROWS)
        first = next(tables, None)
        if first is None:
            raise InputError("The data set is empty, so its columns are unknown; give one with a row.")
        batches = (batch for table in chain([first], tables) for batch in table.to_batches())
        return open_arrow(pa.RecordBatchReader.from_batches(first.schema, batches), member)
    return arrow_source("dataset", data.features.arrow_schema, len(data), partial(_of_object, plain), member)


def open_path(path: Path, member: str = "") -> Source:
    """A source over a folder that ``Dataset.save_to_disk`` wrote; ``member`` names the columns of the array.

    Raises:
        InputError: not such a folder, one of splits, or its columns do not make rows of one dtype and shape.
    """
    try:
        if (path / SPLITS).exists():
            splits = json.loads((path / SPLITS).read_text("utf-8"))["splits"]
            raise InputError(f"{path} holds the splits {', '.join(splits)}; give one, as in {path / splits[0]}.")
        files = [path / entry["filename"] for entry in json.loads((path / STATE).read_text("utf-8"))["_data_files"]]
        with pa.ipc.open_stream(pa.memory_map(str(files[0]))) as stream:
            schema = stream.schema
        rows = sum(batch.num_rows for batch in _of_files(files))
    except (ValueError, KeyError, TypeError, IndexError, pa.ArrowException, OSError) as err:
        raise InputError(f"{path} is no whole data set of save_to_disk: {err}") from err
    return arrow_source(str(path), schema, rows, partial(pieces, _of_files, files), member)


def _of_object(data: Any, start: int, rows: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    chosen = data.select_columns(names) if names else data
    for lo in range(start, len(data), rows):
        yield from chosen[lo : lo + rows].to_batches()


def _of_files(files: list[Path]) -> Iterator[pa.RecordBatch]:
    for file in files:
        yield from read_stream(file)
