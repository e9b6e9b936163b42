"""aecompress verify: is an archive what it promises to be?"""

from __future__ import annotations

from typing import Any

import click

import aecompress
from aecompress.cli import output
from aecompress.cli.options import archive_argument, format_option, json_option, workers_option
from aecompress.cli.progress import ProgressBar
from aecompress.errors import CorruptError, VerificationError
from aecompress.sources import open_source


@click.command()
@archive_argument
@click.option("--against", metavar="SOURCE", help="What it was packed from: compare every value.")
@format_option
@workers_option
@json_option
def verify(archive: str, against: str | None, format: str | None, workers: int, as_json: bool) -> None:
    """Check that an archive is whole and true.

    Every checksum is compared and every block decoded; the exit code is 3 if one is wrong. With --against, every value
    is compared with its original, and the difference with the bound.
    """
    try:
        source = None if against is None else open_source(against, format=format)
        with ProgressBar() as progress:
            facts = aecompress.verify(archive, against=source, workers=workers, progress=progress)
    except CorruptError as err:
        raise VerificationError(str(err)) from err
    if as_json:
        output.print_json(facts)
    else:
        output.print_table(_lines(facts))


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("whole", f"{facts['rows']:,} rows; blocks: {facts['blocks']:,}; every checksum is right, all decode")]
    if "max_abs_error" in facts:
        lines.append(("error", output.error(facts["max_abs_error"], facts["rmse"], facts["psnr"], facts["cosine"])))
        kept = "kept on every value" if facts["bound_kept"] else "none was asked for"
        return [*lines, ("bound", kept)]
    return [*lines, ("bound", "not compared; give --against SOURCE")]
