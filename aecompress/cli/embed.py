"""aecompress embed: features of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import aecompress
from aecompress.cli import output
from aecompress.cli.options import (
    device_option,
    force_option,
    format_option,
    json_option,
    seconds_option,
    seed_option,
    source_argument,
    workers_option,
)
from aecompress.cli.progress import ProgressBar
from aecompress.devices import Device
from aecompress.sources import open_source

if TYPE_CHECKING:
    from aecompress.applications.embedding import Embedding


@click.command()
@source_argument
@format_option
@click.option("-o", "dest", metavar="FEATURES", required=True, help="File to write: .parquet, .npy or another array.")
@click.option("--dim", metavar="K", type=click.IntRange(min=1), help="Features of a row.")
@click.option("--whiten", is_flag=True, help="Mean 0, variance 1 and no correlation.")
@click.option(
    "--model",
    metavar="KIND|PATH",
    default="auto",
    show_default=True,
    help="The archive's own autoencoder, else pca (auto); a kind to fit (pca, vanilla); or a file that fit wrote.",
)
@seconds_option
@seed_option
@device_option
@workers_option
@force_option
@json_option
def embed(
    source: str,
    format: str | None,
    dest: str,
    dim: int | None,
    whiten: bool,
    model: str,
    fit_seconds: float,
    seed: int,
    device: Device,
    workers: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write features of the rows of SOURCE.

    SOURCE is an archive, or any source that pack takes. Features are latents of an autoencoder: those that an archive
    holds, or those of one fitted to the rows. A .parquet file gets a column of row numbers, the columns that came with
    the rows, and one of the features.
    """
    with ProgressBar() as progress:
        found = aecompress.embed(
            source if format is None else open_source(source, format=format),
            dest,
            dim=dim,
            whiten=whiten,
            model=model,
            force=force,
            seconds=fit_seconds,
            seed=seed,
            device=device,
            workers=workers,
            progress=progress,
        )
    if as_json:
        output.print_json(found.to_json())
    else:
        output.print_table([("features", f"{found.rows:,} rows of {found.dim} written to {dest}"), *_how(found)])


def _how(found: Embedding) -> list[tuple[str, str]]:
    made = "latents that the archive holds" if found.stored else "latents of an autoencoder for these rows"
    lines = [("made of", f"{made} ({found.model}){', whitened' if found.whitened else ''}")]
    if found.explained is not None:
        lines.append(("explained", f"{100 * found.explained:.1f} % of the variance"))
    return lines
