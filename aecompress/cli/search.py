"""aecompress search: rows like a row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import aecompress
from aecompress.cli import output
from aecompress.cli.options import archive_argument, json_option, workers_option
from aecompress.cli.progress import ProgressBar

if TYPE_CHECKING:
    from aecompress.applications.neighbours import Metric, Neighbours

_METRICS = ("l2", "cosine")


@click.command()
@archive_argument
@click.option("--row", metavar="N", type=int, multiple=True, help="Find rows like row N; may be given several times.")
@click.option("--query", metavar="SOURCE", help="Find rows like the arrays in this source instead.")
@click.option("-k", "k", metavar="K", type=click.IntRange(min=1), default=10, show_default=True, help="Rows to find.")
@click.option(
    "--metric", metavar="METRIC", type=click.Choice(_METRICS), default="l2", show_default=True, help="Distance."
)
@click.option("--candidates", metavar="N", type=click.IntRange(min=1), help="Rows that latents choose to be decoded.")
@click.option("--features", metavar="FEATURES", help="A file that embed wrote for this archive: find candidates in it.")
@click.option("--model", metavar="PATH", type=click.Path(path_type=Path), help="What these features were made with.")
@workers_option
@json_option
def search(
    archive: Path,
    row: tuple[int, ...],
    query: str | None,
    k: int,
    metric: Metric,
    candidates: int | None,
    features: str | None,
    model: Path | None,
    workers: int,
    as_json: bool,
) -> None:
    """Find the rows of ARCHIVE most like a row.

    The row is one of its own, or comes from elsewhere. Where the archive holds latents, or with --features, only the
    blocks of promising rows are decoded; otherwise all of them, once. Distances are exact for the rows as the archive
    gives them back.
    """
    if bool(row) == (query is not None):
        raise click.UsageError("Name rows to search for with --row, or a --query: one of the two.")
    with ProgressBar() as progress:
        found = aecompress.search(
            archive,
            row=list(row) or None,
            query=query,
            k=k,
            metric=metric,
            candidates=candidates,
            features=features,
            model=model,
            workers=workers,
            progress=progress,
        )
    if as_json:
        output.print_json(found.to_json())
        return
    output.print_columns([("query", "rank", "row", metric, ""), *_lines(found, row)])
    click.echo(f"\nby {found.by}; {found.decoded_rows:,} of {found.total:,} rows were decoded")


def _lines(found: Neighbours, asked: tuple[int, ...]) -> list[tuple[str, ...]]:
    """A line for each row found: what was asked, rank, row number, distance."""
    return [
        (f"row {asked[q]}" if asked else f"{q}", f"{rank}", f"{row}", f"{distance:.6g}", "")
        for q, (rows, distances) in enumerate(zip(found.rows, found.distances, strict=True))
        for rank, (row, distance) in enumerate(zip(rows, distances, strict=True), 1)
    ]
