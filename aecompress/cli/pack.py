"""aecompress pack: a source in, an archive out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import aecompress
from aecompress.cli import output
from aecompress.cli.failures import Stopped
from aecompress.cli.options import (
    fit_options,
    force_option,
    format_option,
    json_option,
    source_argument,
    target_options,
    workers_option,
)
from aecompress.cli.progress import ProgressBar
from aecompress.config import MODEL_KINDS, Effort, Role, Target
from aecompress.devices import Device
from aecompress.locations import locate
from aecompress.ranks import is_first, together
from aecompress.recipe import Recipe
from aecompress.shards.manifest import staging_folder
from aecompress.sources import open_source
from aecompress.spec import ArraySpec

if TYPE_CHECKING:
    from aecompress.figures import Report


@click.command()
@source_argument
@format_option
@click.option("-o", "archive", metavar="ARCHIVE", required=True, type=click.Path(), help="Folder to write, or its URL.")
@click.option(
    "--model",
    metavar="KIND|PATH",
    default="auto",
    show_default=True,
    help=f"A kind to fit ({', '.join(MODEL_KINDS)}), or the file of a model that fit wrote.",
)
@target_options
@fit_options
@workers_option
@force_option
@click.option("--keep-latents", is_flag=True, help="Keep the latents of each row in rows/, for search and features.")
@click.option("--resume", is_flag=True, help="Go on with a pack that was interrupted.")
@json_option
@click.pass_context
def pack(
    ctx: click.Context,
    source: str,
    format: str | None,
    archive: str,
    model: str,
    target: Target | None,
    recipe: Recipe | None,
    axes: tuple[Role, ...] | None,
    fit_seconds: float,
    effort: Effort,
    seed: int,
    device: Device,
    workers: int,
    force: bool,
    keep_latents: bool,
    resume: bool,
    as_json: bool,
) -> None:
    """Pack SOURCE into an archive.

    SOURCE is a npy, npz, Parquet, Arrow, HDF5, NetCDF, Zarr, safetensors or TIFF file, FILE::NAME where it holds
    several arrays, a folder or tar of pictures, or - for npy on standard input. Name at most one target; without one
    it is --rel-error 0.001 for floats and --lossless for integers.
    """
    ctx.with_resource(together(device))
    try:
        with ProgressBar() as progress:
            report = aecompress.pack(
                open_source(source, format=format),
                archive,
                model=model,
                recipe=recipe,
                target=target,
                force=force,
                resume=resume,
                keep_latents=keep_latents,
                fit_seconds=fit_seconds,
                effort=effort,
                axes=axes,
                seed=seed,
                device=device,
                workers=workers,
                progress=progress,
            )
    except Stopped as err:
        err.add_note(_what_next(archive))
        raise
    if not is_first():
        return
    if as_json:
        output.print_json(report.to_json())
    else:
        output.print_table([("archive", str(archive)), *report_lines(report, aecompress.open(archive).spec, model)])


def _what_next(archive: str) -> str:
    if (folder := staging_folder(locate(archive))).exists():
        return f"What is done stays in {folder.parent}: finish it with the same command and --resume."
    return "Nothing was written."


def report_lines(report: Report, spec: ArraySpec, asked: str = "auto") -> list[tuple[str, str]]:
    """A report for people, as labels and texts; ``asked`` is the model that was asked for."""
    return [
        ("rows", output.array(report.rows, spec.row_shape, spec.native.name)),
        ("target", report.target.describe() + (" (the default for this dtype)" if report.target_is_default else "")),
        ("size", _size(report)),
        ("ratio", output.ratio(report.ratio)),
        ("error", output.error(report.max_abs_error, report.rmse, report.psnr, report.cosine)),
        ("bound", _bound(report)),
        ("model", f"{_model(report.model, asked)}; blocks coded as {_counts(report.methods)}"),
        *_tried(report),
        ("time", _time(report)),
        ("break-even", _break_even(report)),
    ]


def _size(report: Report) -> str:
    return (
        f"{output.size(report.raw_bytes)} -> {output.size(report.packed_bytes)}, "
        f"of which {output.size(report.model_bytes)} are the model"
        + (f" and {output.size(report.columns_bytes)} the columns beside the array" if report.columns_bytes else "")
    )


def _time(report: Report) -> str:
    compiled = f"{report.compile_seconds:.1f}"
    first = f" and {compiled} s to compile loops, once on a machine" if compiled != "0.0" else ""
    return (
        f"{report.seconds:.1f} s, {report.fit_seconds:.1f} s of them for the fit{first}; "
        f"the rest at {report.mb_per_s:.3g} MB/s"
    )


def _bound(report: Report) -> str:
    if report.bound_kept is None:
        return "none asked for"
    if report.target.kind == "lossless":
        return "every value came back bit for bit"
    return "every value checked" + ("" if report.bound is None else f" and within {report.bound:.6g}")


def _model(name: str, asked: str) -> str:
    dropped = asked in MODEL_KINDS and asked not in ("auto", name.split()[0])
    return f"{name} ({asked} brought nothing)" if dropped else name


def _tried(report: Report) -> list[tuple[str, str]]:
    found = sorted(report.tried.items(), key=lambda pair: pair[1])
    return [("tried", ", ".join(f"{kind} {output.size(count)}" for kind, count in found))] if found else []


def _counts(methods: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in methods.items()) or "nothing"


def _break_even(report: Report) -> str:
    if report.break_even_rows is None:
        return "none: the model saves nothing here"
    return f"the model pays from {report.break_even_rows:,} such rows on (against quantise, delta, zstd)"
