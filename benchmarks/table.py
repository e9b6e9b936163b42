"""Results for people: lines while they come, Markdown at the end."""

from __future__ import annotations

from typing import Any

from benchmarks.results import Results, cells, geometric_mean, losses

_HEADER = "| codec | bytes | ratio | ours / theirs | encode MB/s | decode MB/s | PSNR dB | bound kept |"


def line(name: str, target: str, raw_bytes: int, cell: dict[str, Any]) -> str:
    """One cell on one line."""
    ours = cell["aecompress"]
    kept = "" if ours["bound_kept"] else "  BOUND BROKEN"
    return f"{name}  {target}  {ours['bytes']} bytes  ratio {raw_bytes / ours['bytes']:.2f}  {_versus(cell)}{kept}"


def _versus(cell: dict[str, Any]) -> str:
    if "best" not in cell:
        return "no peer"
    return f"{cell['best']} {cell['best_bytes']}  gain {cell['gain']:.3f}  judged {cell['judged']:.3f}"


def summary(results: Results) -> str:
    """The geometric means, and every cell in which a peer is smaller."""
    mean, judged = geometric_mean(results, "gain"), geometric_mean(results, "judged")
    if mean is None or judged is None:
        return "No peer was measured."
    lost = [f"  {name}  {target}  {_versus(cell)}" for name, target, cell in losses(results)]
    heads = [f"Best peer / ours, geometric mean: {mean:.3f} (judged {judged:.3f}).", f"Cells below 1.0: {len(lost)}."]
    broken = [f"  {name}  {target}" for name, target, cell in cells(results) if not cell["aecompress"]["bound_kept"]]
    return "\n".join([*heads, *lost, f"Bounds of ours broken: {len(broken)}.", *broken])


def markdown(results: Results) -> str:
    """A section per set, a table per target, ours first and then the peers by size."""
    parts = ["# Results", "", "```", summary(results), "```", ""]
    for name, entry in results.items():
        shape = " x ".join(map(str, entry["shape"]))
        parts += [f"## {name}: {shape} {entry['dtype']}, {entry['raw_bytes']} bytes", ""]
        for target, cell in entry["bounds"].items():
            parts += [f"### {name}, {target}", "", _versus(cell), "", *_rows(entry["raw_bytes"], cell), ""]
    return "\n".join(parts)


def _rows(raw_bytes: int, cell: dict[str, Any]) -> list[str]:
    ours = cell["aecompress"]
    ranked = sorted(cell["peers"].items(), key=lambda item: item[1]["bytes"])
    every = [(f"**aecompress** ({ours['model']})", ours), *ranked]
    return [_HEADER, "|---|" + "---:|" * 6 + "---|", *(_row(who, raw_bytes, ours, codec) for who, codec in every)]


def _row(who: str, raw_bytes: int, ours: dict[str, Any], codec: dict[str, Any]) -> str:
    columns = [
        who,
        str(codec["bytes"]),
        f"{raw_bytes / codec['bytes']:.2f}",
        f"{ours['bytes'] / codec['bytes']:.3f}",
        *(_figure(codec.get(key)) for key in ("enc_MBps", "dec_MBps", "psnr")),
        "yes" if codec["bound_kept"] else "no",
    ]
    return "| " + " | ".join(columns) + " |"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
