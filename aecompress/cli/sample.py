"""aecompress sample: rows drawn from a vae."""

from __future__ import annotations

import click

from aecompress.cli.options import force_option
from aecompress.cli.progress import ProgressBar


@click.command()
@click.argument("model", metavar="MODEL|ARCHIVE")
@click.option("-n", "count", metavar="N", type=int, default=16, show_default=True, help="Rows to draw.")
@click.option("-o", "dest", metavar="DEST", required=True, help="File to write; a sheet of pictures if it is a .png.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw.")
@force_option
def sample(model: str, count: int, dest: str, seed: int, force: bool) -> None:
    """Draw new rows from a vae, as fit or pack --model vae left it.

    DEST is a .png file for rows that are pictures, or a file in a format of unpack.
    """
    from aecompress.sampler import write_sample

    with ProgressBar() as progress:
        write_sample(model, dest, count, seed=seed, force=force, progress=progress)
    click.echo(f"{count:,} rows drawn from {model}, written to {dest}", err=dest == "-")
