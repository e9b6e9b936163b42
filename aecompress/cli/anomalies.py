"""aecompress anomalies: the oddest rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import aecompress
from aecompress.cli import output
from aecompress.cli.options import archive_argument, force_option, json_option, seed_option, workers_option
from aecompress.cli.progress import ProgressBar

if TYPE_CHECKING:
    from aecompress.applications.anomaly import Anomalies

_HEAD = ("row", "score", "quantile", "code", "distance", "bits", "part")
_FORMATS = {"score": ".2f", "quantile": ".5f", "code": ".1f", "distance": ".4g", "bits": ",.0f"}


@click.command()
@archive_argument
@click.option("-n", "n", metavar="N", type=click.IntRange(min=1), default=100, show_default=True, help="Rows to show.")
@click.option("--of", metavar="SOURCE", help="Score these rows instead, by what is usual in the archive.")
@click.option("-o", "dest", metavar="SCORES", type=click.Path(path_type=Path), help="Parquet file of all scores.")
@seed_option
@workers_option
@force_option
@json_option
def anomalies(
    archive: Path, n: int, of: str | None, dest: Path | None, seed: int, workers: int, force: bool, as_json: bool
) -> None:
    """Find the rows of ARCHIVE unlike the others.

    A row is odd if one of its values takes many more bits than values at this place usually do, or if no other rows are
    near it. A score of 3 means that one row of the archive in a thousand is as odd.
    """
    with ProgressBar() as progress:
        found = aecompress.anomalies(
            archive, n, of=of, dest=dest, force=force, seed=seed, workers=workers, progress=progress
        )
    if as_json:
        output.print_json(found.to_json())
        return
    output.print_columns([_HEAD, *_lines(found)])
    if dest is not None:
        click.echo(f"\nscores of {found.total:,} rows written to {dest}")


def _lines(found: Anomalies) -> list[tuple[str, ...]]:
    facts = found.to_json()
    columns = [
        ["-" if value is None else format(value, how) for value in facts[name]] for name, how in _FORMATS.items()
    ]
    return list(zip(map(str, facts["row"]), *columns, facts["part"], strict=True))
