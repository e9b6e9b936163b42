"""aecompress fit: learn a model once, to pack with it many times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import aecompress
from aecompress.cli import output
from aecompress.cli.failures import Stopped
from aecompress.cli.options import (
    clean_option,
    fit_options,
    force_option,
    format_option,
    noise_option,
    source_argument,
    target_options,
)
from aecompress.cli.progress import ProgressBar
from aecompress.config import MODEL_KINDS, Effort, Role, Target
from aecompress.devices import Device
from aecompress.errors import DestinationError
from aecompress.ranks import count, is_first, together
from aecompress.recipe import Recipe
from aecompress.sinks.base import check_free
from aecompress.sources import Source, open_source

TASKS = ("pack", "denoise", "colorize")

#: The tasks that take an option; those not named here are for pack.
_TAKEN_BY = {
    **dict.fromkeys(("source", "format", "dest", "task", "fit_seconds", "seed", "device", "force"), TASKS),
    **dict.fromkeys(("clean", "noise"), ("denoise",)),
}


@click.command()
@source_argument
@format_option
@click.option("-o", "dest", metavar="MODEL", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--task", type=click.Choice(TASKS), default="pack", show_default=True, help="Verb to fit a model for.")
@click.option("--model", "kind", type=click.Choice(MODEL_KINDS), default="auto", show_default=True, help="Kind to fit.")
@target_options
@clean_option
@noise_option
@fit_options
@force_option
@click.option("--resume", is_flag=True, help="Go on with the training of a fit that was interrupted.")
@click.pass_context
def fit(
    ctx: click.Context,
    source: str,
    format: str | None,
    dest: Path,
    task: str,
    kind: str,
    target: Target | None,
    recipe: Recipe | None,
    clean: str | None,
    noise: float | None,
    axes: tuple[Role, ...] | None,
    fit_seconds: float,
    effort: Effort,
    seed: int,
    device: Device,
    force: bool,
    resume: bool,
) -> None:
    """Fit a model to keep, for the --model of another verb.

    Sources and targets are those of pack. With --task denoise SOURCE holds noisy rows, with --task colorize pictures in
    colour.
    """
    _check_options(ctx, task)
    checkpoint = dest.with_name(f"{dest.name}.training")
    if task == "pack" and checkpoint.exists() and not (resume or force):
        raise DestinationError(
            f"{checkpoint} is left of an interrupted fit: add --resume to go on, or --force to start again."
        )
    check_free(dest, force=force)  # before the fit, which may take long
    ctx.with_resource(together(device))
    alone = count() == 1
    if resume and not alone:
        raise click.UsageError("--resume goes with one process: a fit that torchrun spreads keeps no checkpoint.")
    if task != "pack":
        opened = source if format is None else open_source(source, format=format)
        told = {"clean": clean, "noise": noise} if task == "denoise" else {}
        _fit_task(task, opened, dest, told, fit_seconds, seed, device)
        return
    opened = open_source(source, format=format)
    if not resume:
        checkpoint.unlink(missing_ok=True)
    try:
        with ProgressBar() as progress:
            model = aecompress.fit(
                opened,
                target,
                kind=kind,
                recipe=recipe,
                seconds=fit_seconds,
                effort=effort,
                axes=axes,
                seed=seed,
                device=device,
                progress=progress,
                checkpoint=checkpoint if alone else None,
            )
    except Stopped as err:
        if checkpoint.exists():
            err.add_note(f"The training so far stays in {checkpoint}: go on with the same command and --resume.")
        raise
    data = model.to_bytes(encoder=True)
    lines = [
        ("model", f"{dest}: {model.name}, {output.size(len(data))}"),
        ("fitted to", f"{model.about['source']} at {model.target.describe()}"),
        ("in archives", f"{output.size(len(model.to_bytes()))}, the decoder alone"),
    ]
    _keep(dest, data, lines)


def _check_options(ctx: click.Context, task: str) -> None:
    """Raise UsageError where an option was given that does not go with the task."""
    for option in ctx.command.params:
        name = option.name or ""
        tasks = _TAKEN_BY.get(name, ("pack",))
        if task not in tasks and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[0]} does not go with --task {task}.")


def _fit_task(
    task: str, source: str | Source, dest: Path, told: dict[str, Any], seconds: float, seed: int, device: Device
) -> None:
    """Fit a model for denoise or colorize; ``told`` is what only the one takes."""
    learn = aecompress.fit_denoiser if task == "denoise" else aecompress.fit_colorizer
    with ProgressBar() as progress:
        model = learn(source, **told, seconds=seconds, seed=seed, device=device, progress=progress)
    data = model.to_bytes()
    lines = [
        ("model", f"{dest}: for {task}, {output.size(len(data))}"),
        ("fitted to", f"{model.about['source']}, {model.about['rows']:,} rows"),
    ]
    _keep(dest, data, lines)


def _keep(dest: Path, data: bytes, lines: list[tuple[str, str]]) -> None:
    """Write a model, and print what it is; one rank does it for all."""
    if is_first():
        output.write_file(dest, data)
        output.print_table(lines)
