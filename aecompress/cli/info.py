"""aecompress info: what an archive says of itself."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

import aecompress
from aecompress.cli import output
from aecompress.cli.options import archive_argument, json_option
from aecompress.config import Target


@click.command()
@archive_argument
@json_option
def info(archive: str, as_json: bool) -> None:
    """Show what an archive holds; nothing is decoded."""
    facts = aecompress.info(archive)
    if as_json:
        output.print_json(facts)
    else:
        output.print_table(_lines(facts))


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    raw, packed, model = (output.size(facts[f"{name}_bytes"]) for name in ("raw", "packed", "model"))
    return [
        ("archive", facts["archive"]),
        ("rows", output.array(facts["rows"], facts["row_shape"], np.dtype(facts["dtype"]).name)),
        ("target", Target.from_json(facts["target"]).describe()),
        ("size", f"{raw} -> {packed}, of which {model} are the model ({facts['model']})"),
        ("ratio", output.ratio(facts["ratio"])),
        ("error", output.error(facts["max_abs_error"], facts["rmse"], facts["psnr"], facts["cosine"])),
        ("beside it", _columns(facts["columns"], facts["columns_bytes"])),
        ("blocks", f"{facts['blocks']:,}, of {facts['block_rows']:,} rows at most; part files: {facts['parts']}"),
        *_computed(facts["computed"]),
        ("written by", facts["created_by"]),
    ]


def _computed(formulas: dict[str, str]) -> list[tuple[str, str]]:
    labels = ["computed", *[""] * len(formulas)]
    return [(label, f"{name} = {text}") for label, (name, text) in zip(labels, formulas.items(), strict=False)]


def _columns(names: list[str], count: int) -> str:
    return f"{', '.join(names)}: {output.size(count)}" if names else "nothing"
