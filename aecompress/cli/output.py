"""Results on standard output: aligned lines for people, one JSON object for machines; and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from aecompress.shards.durable import write_durably
from aecompress.sinks.base import storage_errors


def print_json(facts: dict[str, Any]) -> None:
    """One object, one line; NaN and infinity are not JSON and would be a defect."""
    click.echo(json.dumps(facts, allow_nan=False))


def print_table(lines: Sequence[tuple[str, str]]) -> None:
    """``label   text``, the texts one below the other."""
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        click.echo(f"{label:<{width}}  {text}")


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """A table whose first and last columns are text and the others numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers, last in rows:
        cells = [f"{text:>{width}}" for text, width in zip(numbers, widths[1:-1], strict=True)]
        click.echo("  ".join([f"{first:<{widths[0]}}", *cells, last]).rstrip())


def write_file(dest: Path, data: bytes) -> None:
    """Make ``dest`` appear, whole. Raises DestinationError."""
    with storage_errors(dest):
        write_durably(dest, data)


def size(count: int) -> str:
    """Bytes for people, in decimal units: ``23.5 MB``, ``812 bytes``."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count / factor:,.0f} {unit}"
    return f"{count} bytes"


def array(rows: int, row_shape: Sequence[int], dtype: str) -> str:
    """``30,000 x 28 x 28 uint8``."""
    return " x ".join([f"{rows:,}", *map(str, row_shape)]) + f" {dtype}"


def ratio(value: float | None) -> str:
    return "none: there are no raw bytes" if value is None else f"{value:.2f}"


def error(max_abs: float, rmse: float, psnr: float | None, cosine: float | None = None) -> str:
    """The figures of distortion, in the units of the data and in dB, and the mean cosine where that is the target."""
    quality = "no loss" if max_abs == 0 else "psnr undefined" if psnr is None else f"psnr {psnr:.2f} dB"
    likeness = "" if cosine is None else f", mean cosine {cosine:.6f}"
    return f"at most {max_abs:.6g}, rmse {rmse:.4g}, {quality}{likeness}"
