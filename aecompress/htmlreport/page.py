"""A survey as HTML: one section after the other, styles and pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from aecompress.charts import STYLE, Bar, Curve, bars, histogram, lines
from aecompress.config import Target
from aecompress.htmlreport.bounds import Point, allowed_error
from aecompress.htmlreport.survey import Shown, Survey
from aecompress.htmlreport.views import MOST_COLUMNS
from aecompress.metrics import Distortion
from aecompress.pictures import SCALE, SIGNED, coloured, png
from aecompress.spec import Array

_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 48px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 20px; letter-spacing: -0.01em; margin: 56px 0 4px; }
h3 { font-size: 14px; font-weight: 600; margin: 24px 0 6px; }
p { margin: 4px 0 14px; color: var(--quiet); max-width: 66ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 12px; margin: 28px 0 0; }
.tile { background: var(--panel); border-radius: 10px; padding: 14px 16px; }
.tile b { display: block; font-size: 24px; font-weight: 650; letter-spacing: -0.02em; line-height: 1.25; }
.tile span { color: var(--quiet); font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 0 6px 16px; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--quiet); font-weight: 500; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.settings td:last-child { text-align: left; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
figure { margin: 0; }
.gallery { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px 12px; align-items: start; }
.gallery.alone { grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); }
.gallery img, .map img { width: 100%; display: block; border-radius: 4px; image-rendering: pixelated; }
.map img { max-width: 420px; }
figcaption { color: var(--quiet); font-size: 13px; margin: 2px 0 4px; }
.map { margin-top: 20px; }
@media print { main { padding: 0; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def render(found: Survey, points: Sequence[Point]) -> str:
    """The whole page."""
    facts = found.facts
    name = found.archive.path.resolve().name
    sections = [
        _sizes(found), _along(found), _odd_rows(found), _errors(found), _rows(found), _computed(found),
        _bounds(found, points), _training(found), _settings(found),
    ]  # fmt: skip
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(name)}</title>
<style>{STYLE}{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(name)}</h1>
<p>{escape(_shape(facts))}, packed at {escape(_target(facts))}</p>
{_tiles(found)}
{"".join(sections)}
</main>
</body>
</html>
"""


def _tiles(found: Survey) -> str:
    facts = found.facts
    error = facts["max_abs_error"]
    tiles = [
        (f"{facts['ratio']:.2f}" if facts["ratio"] else "none", "times smaller"),
        (_size(facts["packed_bytes"]), f"of {_size(facts['raw_bytes'])}, everything counted"),
        ("none" if not error else f"{error:.4g}", "greatest error of a value"),
        ("no loss" if facts["psnr"] is None else f"{facts['psnr']:.1f} dB", "peak signal to noise"),
        (_size(facts["model_bytes"]), f"of these the model: {_model(facts)}"),
        ("never" if found.break_even is None else f"{found.break_even:,} rows", "from which the model pays"),
    ]
    shown = (f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>' for value, text in tiles)
    return f'<div class="tiles">{"".join(shown)}</div>'


def _sizes(found: Survey) -> str:
    packed = found.facts["packed_bytes"]
    rows = [
        Bar(part, count, f"{count:,} bytes, {100 * count / packed:.1f} %", _kind(part))
        for part, count in found.parts.most_common()
    ]
    return _section(
        "Where the bytes go",
        f"All {packed:,} bytes of the archive by what they hold. Rows are coded streams; the model is what was learned "
        "of them and is needed to read them.",
        _figure(bars(rows)),
    )


def _kind(part: str) -> str:
    return "ours" if part.startswith("rows") else "other"


def _along(found: Survey) -> str:
    row, bits = found.along.bits
    parts = []
    if len(row) > 1:
        parts.append(_figure(_stairs(found, row, bits, "bits a value"), "Rate"))
    row, rmse = found.along.rmse
    if len(row) > 1 and found.facts["max_abs_error"]:
        parts.append(_figure(_stairs(found, row, rmse, "rmse"), "Error"))
    return _section(
        "Along the rows",
        f"Rows are coded together in blocks of at most {found.facts['block_rows']:,}, here {found.facts['blocks']:,}; "
        "then the blocks whose rows took the most bits.",
        *parts,
        _odd(found),
    )


def _stairs(found: Survey, row: Array, height: Array, what: str) -> str:
    ends = np.append(row, len(found.archive))
    curve = Curve(what, np.repeat(ends, 2)[1:-1], np.repeat(height, 2))
    return lines([curve], x="row", y=what, height=200, zero=True)


def _odd(found: Survey) -> str:
    values = max(found.archive.spec.row_size, 1)
    head = ("rows", "bits a row", "bits a value", "method", "greatest error", "rmse")
    body = [
        (
            f"{odd.start:,} to {odd.start + odd.rows - 1:,}",
            f"{odd.bits_per_row:,.1f}",
            f"{odd.bits_per_row / values:.3f}",
            odd.method,
            f"{odd.distortion.max_abs:.4g}",
            f"{odd.distortion.rmse:.4g}",
        )
        for odd in found.oddest
    ]
    return _table(head, body)


def _errors(found: Survey) -> str:
    if not found.facts["max_abs_error"]:
        return _section("Errors", "Every value came back as it was.")
    if found.errors is None:
        return _section("Errors", "They are shown where the report is given the source: --source SOURCE.")
    errors = found.errors
    parts = [
        _figure(
            histogram(errors.edges, errors.counts, x="reconstruction - original", y="values"), "How large errors are"
        )
    ]
    places = errors.mean_places
    if places is not None and places.size > 1:
        parts.append(_places(found, places))
    about = _bound(found)
    return _section("Errors", f"Over {int(errors.counts.sum()):,} finite values. {about}", *parts)


def _bound(found: Survey) -> str:
    allowed = allowed_error(found)
    if not (found.archive.manifest.target.bounded and allowed):
        return ""
    return f"The bound is {allowed:.6g}; the greatest error is {found.facts['max_abs_error']:.6g}."


def _places(found: Survey, places: Array) -> str:
    """Mean absolute errors over all rows, by the place in a row."""
    if found.view.kind == "columns":
        names = [Bar(f"column {i}", float(mean), f"{mean:.4g}", "ours") for i, mean in enumerate(places.reshape(-1))]
        return _figure(bars(names), "Where errors sit: mean error of each column")
    seen = found.view.look(places)
    if found.view.kind == "series":
        curve = Curve("mean error", np.arange(seen.size) * _step(found), seen)
        chart = lines([curve], x="place in a row", y="mean error", height=200, zero=True)
        return _figure(chart, "Where errors sit: mean error by place")
    flat = seen.mean(-1) if seen.ndim == 3 else seen
    low, high = _range([flat])
    words = f"Where errors sit: mean error by place, {low:.4g} (dark) to {high:.4g} (bright)"
    return f'<figure class="map"><figcaption>{escape(words)}</figcaption>{_image(coloured(flat, low, high))}</figure>'


def _rows(found: Survey) -> str:
    if not found.shown.decoded:
        return ""
    difference = " and their difference" if found.view.kind == "picture" else ""
    words = f"Originals and reconstructions{difference}." if found.shown.original else "Reconstructions."
    about = f" Shown {found.view.about}." if found.view.about else ""
    kinds = {"picture": _pictures, "series": _series, "columns": _columns}
    return _section("Rows", words + about, kinds[found.view.kind](found, found.shown))


def _odd_rows(found: Survey) -> str:
    """The rows of the most bits; columns have none that could be seen alone."""
    if not found.odd.decoded or found.view.kind == "columns":
        return ""
    words = "The rows that take the most bits, among the blocks above; aecompress anomalies judges all rows."
    return _section("Oddest rows", words, (_pictures if found.view.kind == "picture" else _series)(found, found.odd))


def _pictures(found: Survey, shown: Shown) -> str:
    low, high = _range([*shown.original, *shown.decoded])
    if not shown.original:
        alone = (_titled(_image(_seen(row, low, high)), name) for name, row in shown.named())
        return f'<div class="gallery alone">{"".join(alone)}</div>'
    most = float(found.facts["max_abs_error"])
    cells = []
    for (name, decoded), original in zip(shown.named(), shown.original, strict=True):
        error = decoded.astype(np.float64) - original.astype(np.float64)
        if error.ndim == 3:
            error = error.mean(-1)
        cells += [
            _titled(_image(_seen(original, low, high)), f"{name}, original"),
            _titled(_image(_seen(decoded, low, high)), "reconstruction"),
            _titled(_image(coloured(error, -most, most, SIGNED)), f"error, blue -{most:.4g} to red {most:.4g}"),
        ]
    return f'<div class="gallery">{"".join(cells)}</div>'


def _seen(row: Array, low: float, high: float) -> Array:
    """A picture as its reader expects it: bytes as grey or colours, numbers on a scale."""
    if row.dtype == np.uint8:
        return row
    return coloured(row.astype(np.float64), low, high, SCALE)


def _series(found: Survey, shown: Shown) -> str:
    drawn = []
    for i, (name, decoded) in enumerate(shown.named()):
        place = np.arange(decoded.size) * _step(found)
        curves = [Curve("reconstruction", place, decoded.astype(np.float64))]
        if shown.original:
            curves.insert(0, Curve("original", place, shown.original[i].astype(np.float64)))
        drawn.append(_figure(lines(curves, x="place in the row", y="value", height=190), name))
    return "".join(drawn)


def _step(found: Survey) -> int:
    cuts = [cut.step or 1 for cut in found.view.index if isinstance(cut, slice)]
    return cuts[0] if cuts else 1


def _columns(found: Survey, shown: Shown) -> str:  # noqa: ARG001 - as the others
    rows = np.array(shown.rows)
    decoded = np.stack(shown.decoded).astype(np.float64)
    original = np.stack(shown.original).astype(np.float64) if shown.original else None
    drawn = []
    for column in range(min(decoded.shape[1], MOST_COLUMNS)):
        curves = [Curve("reconstruction", rows, decoded[:, column])]
        if original is not None:
            curves.insert(0, Curve("original", rows, original[:, column]))
        name = f"column {column}" if decoded.shape[1] > 1 else ""
        drawn.append(_figure(lines(curves, x="row", y="value", height=170), name))
    return "".join(drawn)


def _bounds(found: Survey, points: Sequence[Point]) -> str:
    if not points or found.sample is None:
        return ""
    sort = "originals" if found.shown.original else "reconstructions, so at looser bounds only"
    rows, width = len(found.sample), 8 * found.archive.dtype.itemsize
    curve = _curve(points)
    head = ("bound", "bits a value", "ratio", "psnr")
    body = [
        (
            f"{p.bound:.6g}",
            f"{p.bits:.3f}",
            f"{width / p.bits:.2f}" if p.bits else "",
            "no loss" if p.psnr is None else f"{p.psnr:.2f} dB",
        )
        for p in points
    ]
    return _section(
        "At other bounds",
        f"What {rows:,} rows from the middle of the set would take ({sort}): a context model is fitted to them at each "
        "bound and is not counted. A whole set takes less a value, because it affords a finer model.",
        _figure(lines([curve], x="bits a value", y="psnr, dB", marked=True)) if len(curve.x) > 1 else "",
        _table(head, body),
    )


def _curve(points: Iterable[Point]) -> Curve:
    known = [(p.bits, p.psnr) for p in points if p.psnr is not None]
    bits, psnr = np.array(known, np.float64).reshape(-1, 2).T
    return Curve("", bits, psnr)


def _training(found: Survey) -> str:
    if found.training is None:
        return ""
    taught, held_out = found.training
    checks = np.arange(len(held_out), dtype=np.float64)
    curves = [Curve("rows that taught", checks, taught), Curve("rows held out", checks, held_out)]
    words = (
        "How the network learned: loss on the rows that taught it, and score on rows that did not, from check to "
        "check; 1 is the score where it began. The best state was kept."
    )
    return _section("Training", words, _figure(lines(curves, x="check", y="loss, score", height=200)))


def _computed(found: Survey) -> str:
    if not found.facts["computed"]:
        return ""
    return _section(
        "Columns computed from others",
        "Formulas that the model found in the rows, by which it expects a column from those before it. What a value "
        "differs from its formula is coded, so none need hold exactly.",
        _table(("column", "formula"), found.facts["computed"].items(), "settings"),
    )


def _settings(found: Survey) -> str:
    facts, manifest = found.facts, found.archive.manifest
    methods = ", ".join(f"{name} ({count:,})" for name, count in facts["methods"].items()) or "none"
    lines = [
        ("rows", _shape(facts)),
        ("source format", str(facts["source_format"])),
        ("target", _target(facts)),
        ("raw bytes", f"{facts['raw_bytes']:,}"),
        ("packed bytes", f"{facts['packed_bytes']:,}"),
        ("model", f"{_model(facts)}, {facts['model_bytes']:,} bytes"),
        ("blocks by method", methods),
        ("blocks", f"{facts['blocks']:,} of {facts['block_rows']:,} rows at most, in {facts['parts']:,} part files"),
        ("greatest error, rmse", _both(manifest.report["distortion"], facts)),
        ("written by", facts["created_by"]),
    ]
    return _section("Settings", "", _table(("", ""), lines, "settings"))


def _both(stored: dict[str, Any], facts: dict[str, Any]) -> str:
    compared = Distortion(stored["count"]).count
    return f"{facts['max_abs_error']:.6g}, {facts['rmse']:.6g}, over {compared:,} finite values"


def _range(values: Sequence[Array]) -> tuple[float, float]:
    """Least and greatest finite value."""
    finite = [part[np.isfinite(part)] for part in values]
    some = [part for part in finite if part.size]
    if not some:
        return 0.0, 1.0
    return min(float(part.min()) for part in some), max(float(part.max()) for part in some)


def _shape(facts: dict[str, Any]) -> str:
    return " x ".join([f"{facts['rows']:,}", *map(str, facts["row_shape"])]) + f" {np.dtype(facts['dtype']).name}"


def _target(facts: dict[str, Any]) -> str:
    return Target.from_json(facts["target"]).describe()


def _model(facts: dict[str, Any]) -> str:
    return "context model" if facts["model"] == "none" else f"context model and {facts['model']}"


def _size(count: int) -> str:
    """Bytes for people, in decimal units."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"


def _section(title: str, words: str, *parts: str) -> str:
    said = f"<p>{escape(words)}</p>" if words else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{said}\n{''.join(parts)}\n</section>\n"


def _figure(chart: str, title: str = "") -> str:
    return f"<figure>{f'<h3>{escape(title)}</h3>' if title else ''}{chart}</figure>\n"


def _titled(image: str, caption: str) -> str:
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(picture: Array) -> str:
    data = base64.b64encode(png(np.ascontiguousarray(picture))).decode("ascii")
    return f'<img alt="" src="data:image/png;base64,{data}">'


def _table(head: Sequence[str], body: Iterable[Sequence[str]], style: str = "") -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    top = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f'<div class="wide"><table class="{style}">{top}<tbody>{rows}</tbody></table></div>\n'
