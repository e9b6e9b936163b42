"""Rate and distortion: bits a value against PSNR, one panel a set, one curve a codec."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import Results

Curve = list[tuple[float, float]]


def plot(results: Results, path: Path) -> None:
    """Write the picture; points without a PSNR (lossless, or peers of an old reference) are left out."""
    columns = min(len(results), 3)
    rows = math.ceil(len(results) / columns)
    figure = Figure(figsize=(6 * columns, 4.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (name, entry) in zip(panels, results.items(), strict=False):
        _panel(axes, name, curves(entry))
    for axes in list(panels):
        axes.set_visible(False)
    figure.savefig(path, dpi=120)


def curves(entry: dict[str, Any]) -> dict[str, Curve]:
    """(bits a value, PSNR) of every codec of one set, by rising rate; codecs that broke a bound lack that point."""
    values = math.prod(entry["shape"])
    points: dict[str, Curve] = defaultdict(list)
    for cell in entry["bounds"].values():
        for codec, figures in {"aecompress": cell["aecompress"], **cell["peers"]}.items():
            if figures["bound_kept"] and figures.get("psnr") is not None:
                points[codec].append((8 * figures["bytes"] / values, figures["psnr"]))
    return {codec: sorted(curve) for codec, curve in points.items()}


def _panel(axes: Axes, name: str, by_codec: dict[str, Curve]) -> None:
    for codec, curve in by_codec.items():
        bits, psnr = zip(*curve, strict=True)
        axes.plot(bits, psnr, marker="o", linewidth=2.5 if codec == "aecompress" else 1.0, label=codec)
    axes.set(title=name, xlabel="bits per value", ylabel="PSNR (dB)")
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
    if by_codec:
        axes.legend(fontsize="small")
