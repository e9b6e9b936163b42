"""aecompress report: a page about an archive."""

from __future__ import annotations

from pathlib import Path

import click

import aecompress
from aecompress.cli.options import archive_argument, force_option, format_option
from aecompress.cli.progress import ProgressBar
from aecompress.sources import open_source


@click.command()
@archive_argument
@click.option("-o", "dest", metavar="PAGE", required=True, type=click.Path(path_type=Path), help="HTML file to write.")
@click.option("--source", metavar="SOURCE", help="What it was packed from: show errors and originals too.")
@format_option
@force_option
def report(archive: str, dest: Path, source: str | None, format: str | None, force: bool) -> None:
    """Write a page about an archive, to be opened in a browser.

    It shows where the bytes go, rates along the rows, the oddest blocks, rows, and what other bounds would take. With
    --source every value is compared with its original. The page needs no other file and no network.
    """
    opened = None if source is None else open_source(source, format=format)
    with ProgressBar() as progress:
        aecompress.report(archive, dest, source=opened, force=force, progress=progress)
    click.echo(f"report written to {dest}")
