"""aecompress denoise: noisy rows in, clean rows out."""

from __future__ import annotations

from pathlib import Path

import click

import aecompress
from aecompress.cli import output
from aecompress.cli.options import (
    clean_option,
    device_option,
    force_option,
    format_option,
    noise_option,
    seconds_option,
    seed_option,
    source_argument,
)
from aecompress.cli.progress import ProgressBar
from aecompress.devices import Device
from aecompress.sources import open_source


@click.command()
@source_argument
@format_option
@click.option(
    "-o",
    "dest",
    metavar="CLEAN",
    required=True,
    help="What to write, as for unpack, or - for npy on stdout.",
)
@click.option("--model", metavar="MODEL", type=click.Path(path_type=Path), help="File of fit --task denoise.")
@clean_option
@noise_option
@seconds_option
@seed_option
@device_option
@force_option
def denoise(
    source: str,
    format: str | None,
    dest: str,
    model: Path | None,
    clean: str | None,
    noise: float | None,
    fit_seconds: float,
    seed: int,
    device: Device,
    force: bool,
) -> None:
    """Take the noise off SOURCE.

    A network learns what a value should be from what lies around it, in the noisy rows themselves: no clean data is
    needed. The noise has to be independent from value to value, of mean zero and of one standard deviation. Dtype and
    shape come back as they were.
    """
    with ProgressBar() as progress:
        done = aecompress.denoise(
            source if format is None else open_source(source, format=format),
            dest,
            model=model,
            clean=clean,
            noise=noise,
            force=force,
            seconds=fit_seconds,
            seed=seed,
            device=device,
            progress=progress,
        )
    if dest == "-":
        return
    lines = [("written", f"{done.rows:,} rows to {dest}"), ("taken away", f"{done.removed:.4g} (root mean square)")]
    if done.noise is not None:
        lines.append(("noise", f"{done.noise:.4g} (standard deviation)"))
    output.print_table(lines)
