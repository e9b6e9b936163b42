"""aecompress fit: learn a model once, to pack with it many times."""

from __future__ import annotations

from pathlib import Path

import click

import aecompress
from aecompress.cli import output
from aecompress.cli.options import fit_options, force_option, format_option, source_argument, target_options
from aecompress.cli.progress import ProgressBar
from aecompress.config import MODEL_KINDS, Target
from aecompress.sinks.base import check_free
from aecompress.sources import open_source


@click.command()
@source_argument
@format_option
@click.option("-o", "dest", metavar="MODEL", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--model", "kind", type=click.Choice(MODEL_KINDS), default="auto", show_default=True, help="Kind to fit.")
@target_options
@fit_options
@force_option
def fit(
    source: str,
    format: str | None,
    dest: Path,
    kind: str,
    target: Target | None,
    fit_seconds: float,
    seed: int,
    force: bool,
) -> None:
    """Fit a model to keep, for pack --model PATH.

    Sources and targets are those of pack.
    """
    check_free(dest, force=force)  # before the fit, which may take long
    with ProgressBar() as progress:
        model = aecompress.fit(
            open_source(source, format=format), target, kind=kind, seconds=fit_seconds, seed=seed, progress=progress
        )
    data = model.to_bytes(encoder=True)
    output.write_file(dest, data)
    output.print_table(
        [
            ("model", f"{dest}: {model.kind}, {output.size(len(data))}"),
            ("fitted to", f"{model.about['source']} at {model.target.describe()}"),
            ("in archives", f"{output.size(len(model.to_bytes()))}, the decoder alone"),
        ]
    )
