"""The page about an archive: it parses, needs nothing else, and says what the archive says."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import aecompress
from aecompress.charts import Bar, Curve, bars, lines, ticks
from aecompress.cli import cli
from aecompress.errors import DestinationError, VerificationError
from aecompress.figures import course
from aecompress.htmlreport import bounds
from aecompress.htmlreport.survey import Errors, _training, survey
from aecompress.htmlreport.views import View
from aecompress.pictures import SIGNED, coloured, png
from aecompress.shards.reader import archive_bytes
from aecompress.spec import ArraySpec

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Checks that tags are closed in order; gathers text, tables' rows and what tags refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())


SETS = {
    "pictures": ((40, 12, 16), "f4"),
    "bytes": ((40, 12, 16), "u1"),
    "colours": ((10, 12, 16, 3), "u1"),
    "volumes": ((6, 3, 12, 16), "f4"),
    "series": ((60, 64), "f8"),
    "columns": ((600, 5), "f4"),
    "scalars": ((500,), "i4"),
}


@pytest.fixture(scope="module", params=SETS)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(source, archive) of a smooth set with noise, NaN among the floats."""
    shape, dtype = SETS[request.param]
    rng = np.random.default_rng(3)
    values = 100 + 60 * np.sin(np.add.outer(np.arange(shape[0]), np.linspace(0, 9, int(np.prod(shape[1:])))) / 7)
    rows = (values.reshape(shape) + rng.normal(size=shape)).astype(dtype)
    if dtype.startswith("f"):
        rows[1:3] = np.nan
    folder = tmp_path_factory.mktemp(request.param)
    np.save(folder / "rows.npy", rows)
    target = aecompress.Target("max-error", 1.0)
    aecompress.pack(folder / "rows.npy", folder / "rows.aec", target=target, model="none")
    return folder / "rows.npy", folder / "rows.aec"


@pytest.fixture(autouse=True)
def one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits at many bounds take long, and what they say does not depend on their number."""
    monkeypatch.setattr(bounds, "_FACTORS", (1.0, 4.0))


@pytest.mark.parametrize("with_source", [False, True])
def test_the_page_stands_alone_and_says_what_the_archive_says(
    packed: tuple[Path, Path], tmp_path: Path, with_source: bool
) -> None:
    source, archive = packed
    dest = tmp_path / "report.html"
    arguments = ["report", str(archive), "-o", str(dest), *(["--source", str(source)] if with_source else [])]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    html = dest.read_text()
    page, facts = Page(html), aecompress.info(archive)
    assert "script" not in page.tags
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert not re.search(r"https?:|url\(|@import", html)
    text = "\n".join(page.text)
    for figure in (f"{facts['ratio']:.2f}", f"{facts['packed_bytes']:,}", f"{facts['raw_bytes']:,}", "max-error 1"):
        assert figure in text
    sizes = [int(count.replace(",", "")) for count in re.findall(r"^([\d,]+) bytes, [\d.]+ %$", text, re.M)]
    assert sum(sizes) == facts["packed_bytes"] == archive_bytes(archive)
    assert ("original" in page.text) or ("row 0, original" in page.text) or not with_source
    assert ("How large errors are" in text) == with_source
    for picture in page.references:
        assert base64.b64decode(picture.partition(",")[2]).startswith(b"\x89PNG")


def test_errors_are_those_of_every_value(packed: tuple[Path, Path]) -> None:
    source, path = packed
    found = survey(path, source, lambda *_: None)
    rows, decoded = np.load(source).astype(float), aecompress.open(path)[:].astype(float)
    assert found.errors is not None
    assert found.errors.counts.sum() == np.isfinite(rows).sum()
    places = found.errors.mean_places
    assert places is not None
    np.testing.assert_allclose(places, np.nanmean(np.abs(decoded - rows), axis=0), atol=1e-12)
    shown = [found.view.look(row) for row in np.load(source)[list(found.view.rows)]]
    np.testing.assert_array_equal(found.shown.original, shown)


def test_another_source_is_refused(packed: tuple[Path, Path], tmp_path: Path) -> None:
    source, archive = packed
    wrong = np.load(source)
    wrong[-1] += 9
    with pytest.raises(VerificationError, match="not the one that was packed"):
        aecompress.report(archive, tmp_path / "report.html", source=wrong)
    assert not list(tmp_path.iterdir())


def test_a_page_is_replaced_with_force_only(packed: tuple[Path, Path], tmp_path: Path) -> None:
    dest = tmp_path / "report.html"
    dest.write_text("mine")
    with pytest.raises(DestinationError, match="--force"):
        aecompress.report(packed[1], dest)
    assert dest.read_text() == "mine"
    with pytest.raises(DestinationError, match="no folder"):
        aecompress.report(packed[1], tmp_path / "none" / "report.html")


@pytest.mark.parametrize(("shape", "dtype"), [((0, 8, 8), "f4"), ((5, 0), "u1"), ((20, 9), "?"), ((1, 16, 16), "f4")])
def test_hardly_anything_and_no_loss(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    rows = np.ones(shape, dtype)
    aecompress.pack(rows, tmp_path / "a", target=aecompress.Target("lossless"), model="none")
    aecompress.report(tmp_path / "a", tmp_path / "a.html", source=rows)
    assert "Every value came back as it was." in Page((tmp_path / "a.html").read_text()).text


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "seen"),
    [
        ((9, 28, 28), "u1", "picture", (28, 28)),
        ((9, 20, 30, 3), "u1", "picture", (20, 30, 3)),
        ((9, 4, 700, 30), "f4", "picture", (234, 30)),
        ((9, 3000), "f4", "series", (1000,)),
        ((9, 2, 50), "f4", "series", (50,)),
        ((9, 3), "f4", "columns", (3,)),
        ((9,), "f4", "columns", (1,)),
    ],
)
def test_rows_are_shown_by_their_shape(shape: tuple[int, ...], dtype: str, kind: str, seen: tuple[int, ...]) -> None:
    view = View.of(ArraySpec(np.dtype(dtype), shape[1:], shape[0]))
    assert view.kind == kind
    assert view.look(np.zeros(shape[1:], dtype)).shape == seen
    assert view.rows[0] == 0


def test_whole_errors_have_a_bin_each() -> None:
    errors = Errors.within(2.0, True, (3,))
    errors.add(np.array([[5, 5, 5]], "u1"), np.array([[3, 5, 7]], "u1"))
    assert errors.counts.tolist() == [1, 0, 1, 0, 1]


@given(low=st.floats(-1e9, 1e9), span=st.floats(1e-3, 1e9), many=st.integers(2, 9))
def test_ticks_are_inside_and_neither_few_nor_many(low: float, span: float, many: int) -> None:
    found = ticks(low, low + span, many)
    assert all(low - 1e-6 * span - 1e-6 * abs(low) <= tick <= low + span * 1.000001 + 1e-6 * abs(low) for tick in found)
    assert len(found) <= many + 1


def test_charts_escape_names_and_break_where_nothing_is_known() -> None:
    assert "&lt;b&gt;" in bars([Bar("<b>", 1.0, "x")])
    curve = Curve("", np.arange(5.0), np.array([1, 2, np.nan, 3, 4]))
    assert lines([curve], x="x", y="y").count("<path") == 2


def test_numbers_become_colours() -> None:
    seen = coloured(np.array([[-1.0, 0.0, 1.0, np.nan]]), -1, 1, SIGNED)
    np.testing.assert_array_equal(seen[0, :3], SIGNED[[0, 2, 4]])
    assert len(set(seen[0, 3].tolist())) == 1
    assert png(seen)[25] == 2  # PNG's number for red, green and blue


def test_the_rows_of_the_most_bits_are_shown_beside_their_originals(tmp_path: Path) -> None:
    time = np.linspace(0, 9, 64)
    rows = np.sin(time + np.linspace(0, 3, 300)[:, None]).astype(np.float32)
    rows[[41, 250]] += np.random.default_rng(1).normal(size=(2, 64)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    aecompress.pack(rows, tmp_path / "a", target=aecompress.Target("max-error", 0.01), model="none")
    found = survey(tmp_path / "a", tmp_path / "rows.npy", lambda *_: None)
    assert set(found.odd.rows[:2]) == {41, 250}
    np.testing.assert_array_equal(found.odd.original, rows[list(found.odd.rows)])
    np.testing.assert_allclose(found.odd.decoded, found.odd.original, atol=0.011)
    aecompress.report(tmp_path / "a", tmp_path / "a.html")
    text = Page((tmp_path / "a.html").read_text()).text
    assert "Oddest rows" in text
    assert any(re.fullmatch(r"row (41|250), [\d,]+ bits", line) for line in text)


def test_the_course_of_a_training_is_drawn(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 2)) @ np.random.default_rng(1).normal(size=(2, 16))
    model = aecompress.fit(rows, aecompress.Target("latent-dim", 2), kind="pca")
    assert model.encoder is not None
    points = np.array([[0, 4, 4], [1, 3, 2], [2, 1, 1]], np.float64)
    aecompress.pack(rows, tmp_path / "a", model=replace(model, encoder=replace(model.encoder, course=points)))
    found = survey(tmp_path / "a", None, lambda *_: None)
    assert found.training is not None
    np.testing.assert_array_equal(found.training, [[1, 0.75, 0.25], [1, 0.5, 0.25]])
    aecompress.report(tmp_path / "a", tmp_path / "a.html")
    assert "Training" in Page((tmp_path / "a.html").read_text()).text


@pytest.mark.parametrize("kept", [None, 3, {}, {"loss": [1], "held_out": [1]}, {"loss": [1, 2], "held_out": ["x", 2]}])
def test_a_course_that_makes_no_sense_is_none(kept: object) -> None:
    assert _training(kept) is None


def test_long_courses_are_thinned_and_keep_their_ends() -> None:
    scores = 2.0 / (1 + np.arange(100))
    found = course(np.stack([np.arange(100), np.append(np.inf, scores[1:]), scores], axis=1))
    assert len(found["held_out"]) == 32
    assert (found["held_out"][0], found["held_out"][-1]) == (1.0, 0.01)
    assert found["loss"][0] is None


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_shows_the_page_without_complaint(tmp_path: Path) -> None:
    """The page as it is drawn: every picture loaded, nothing wider than the window."""
    rows = np.random.default_rng(2).integers(0, 200, (9, 12, 16)).astype(np.uint8)
    aecompress.pack(rows, tmp_path / "a", target=aecompress.Target("max-error", 3), model="none")
    aecompress.report(tmp_path / "a", tmp_path / "report.html", source=rows)
    page = tmp_path / "report.html"
    probe = """<script>addEventListener("load", () => document.title = JSON.stringify({
        broken: [...document.images].filter(image => !image.naturalWidth).length,
        over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        flat: [...document.querySelectorAll("svg")].filter(chart => !chart.getBoundingClientRect().height).length,
    }))</script>"""
    page.write_text(page.read_text().replace("</body>", f"{probe}</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [*command, "--window-size=900,1200", "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert shown.returncode == 0, shown.stderr
    title = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert title is not None
    assert json.loads(unescape(title[1])) == {"broken": 0, "over": 0, "flat": 0}
