"""aecompress colorize: grey pictures in, coloured ones out."""

from __future__ import annotations

from pathlib import Path

import click

import aecompress
from aecompress.cli.options import force_option, format_option, source_argument
from aecompress.cli.progress import ProgressBar
from aecompress.sources import open_source


@click.command()
@source_argument
@format_option
@click.option(
    "-o", "dest", metavar="COLOUR", required=True, help="What to write, as for unpack, or - for npy on stdout."
)
@click.option(
    "--model", metavar="MODEL", required=True, type=click.Path(path_type=Path), help="File of fit --task colorize."
)
@force_option
def colorize(source: str, format: str | None, dest: str, model: Path, force: bool) -> None:
    """Give the grey pictures of SOURCE colours.

    A network tells the colour of a place from the brightness around it, as it was in the pictures it learned from.
    Brightness stays as it is.
    """
    with ProgressBar() as progress:
        count = aecompress.colorize(
            source if format is None else open_source(source, format=format),
            dest,
            model=model,
            force=force,
            progress=progress,
        )
    if dest != "-":
        click.echo(f"{count:,} pictures written to {dest}")
