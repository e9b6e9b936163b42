"""Everything a report says of an archive, gathered in one pass over its blocks, in constant memory."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aecompress.archive import Archive
from aecompress.codec.frame import Frame
from aecompress.codec.lengths import code_lengths, latent_lengths
from aecompress.config import Progress
from aecompress.errors import VerificationError
from aecompress.figures import break_even, restored
from aecompress.htmlreport.views import View
from aecompress.inspector import info
from aecompress.locations import Where
from aecompress.metrics import Distortion, distortion
from aecompress.shards.block import Block
from aecompress.shards.manifest import MANIFEST
from aecompress.shards.reader import ShardReader
from aecompress.sources.base import Source, Taker
from aecompress.spec import Array
from aecompress.verifier import matching

#: Points of what is shown along the rows, and bins of the histogram of floats' errors.
_BINS = 360
_ERROR_BINS = 101

#: Blocks that are listed as the oddest, and rows of theirs that are shown.
_ODDEST, _ODD_ROWS = 8, 3

#: Values of the sample that other bounds are tried on; rows longer than the second are not tried.
SAMPLE_VALUES = 1 << 16
_LONGEST_ROW = 1 << 21

#: Rows longer than this get no map of where errors sit.
_MOST_PLACES = 1 << 22


@dataclass(frozen=True, order=True)
class Odd:
    """A block, ordered by the bits its rows take."""

    bits_per_row: float
    start: int
    rows: int
    method: str = field(compare=False)
    distortion: Distortion = field(compare=False)


@dataclass
class Along:
    """What blocks add up to in equal stretches of rows: float64 [bins] each."""

    row: Array
    bytes: Array
    values: Array
    sse: Array
    compared: Array

    @classmethod
    def over(cls, blocks: int) -> Along:
        bins = max(1, min(blocks, _BINS))
        return cls(*(np.zeros(bins) for _ in range(5)))

    def add(self, block: Block, values: int, rows: int) -> None:
        at = block.start * len(self.row) // rows
        if not self.values[at]:
            self.row[at] = block.start
        self.bytes[at] += len(block.payload)
        self.values[at] += values
        self.sse[at] += block.distortion.sse
        self.compared[at] += block.distortion.count

    @property
    def bits(self) -> tuple[Array, Array]:
        """(first row, bits a value) of each stretch that has blocks."""
        some = self.values > 0
        return self.row[some], 8 * self.bytes[some] / self.values[some]

    @property
    def rmse(self) -> tuple[Array, Array]:
        """(first row, root mean squared error) of each stretch that has finite values."""
        some = self.compared > 0
        return self.row[some], np.sqrt(self.sse[some] / self.compared[some])


@dataclass
class Errors:
    """Errors of all values, reconstruction minus original.

    Attributes:
        edges, counts: a histogram, float64 [n + 1] and int64 [n].
        places: float64 [*row_shape], sums of absolute errors; None where rows are too long.
        known: int64 [*row_shape], how many each sum has.
    """

    edges: Array
    counts: Array
    places: Array | None
    known: Array | None

    @classmethod
    def within(cls, most: float, whole: bool, shape: tuple[int, ...]) -> Errors:
        """For errors of at most ``most``; a bin for every ``whole`` number as long as these are few."""
        few = whole and most <= _ERROR_BINS // 2
        edges = np.arange(-most - 0.5, most + 1) if few else np.linspace(-most, most, _ERROR_BINS + 1)
        small = np.prod(shape) <= _MOST_PLACES
        places, known = (np.zeros(shape), np.zeros(shape, np.int64)) if small else (None, None)
        return cls(edges, np.zeros(len(edges) - 1, np.int64), places, known)

    def add(self, original: Array, decoded: Array) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            error = decoded.astype(np.float64) - original.astype(np.float64)
        finite = np.isfinite(error)
        self.counts += np.histogram(error[finite], self.edges)[0]
        if self.places is not None and self.known is not None:
            self.places += np.where(finite, np.abs(error), 0.0).sum(0)
            self.known += finite.sum(0)

    @property
    def mean_places(self) -> Array | None:
        """float64 [*row_shape], mean absolute errors; NaN where nothing is known."""
        if self.places is None or self.known is None:
            return None
        return np.where(self.known > 0, self.places / np.maximum(self.known, 1), np.nan)


@dataclass
class Shown:
    """Rows that are shown.

    Attributes:
        rows: their numbers, in the order in which they are shown.
        notes: what is said of each beside its number; empty if nothing is.
        decoded, original: what is shown of them; of the originals nothing without a source.
    """

    rows: tuple[int, ...]
    notes: tuple[str, ...] = ()
    decoded: list[Array] = field(default_factory=list)
    original: list[Array] = field(default_factory=list)

    def named(self) -> Iterator[tuple[str, Array]]:
        """Title and reconstruction of each."""
        notes = self.notes or ("",) * len(self.rows)
        for row, note, decoded in zip(self.rows, notes, self.decoded, strict=True):
            yield f"row {row:,}{note}", decoded


@dataclass
class Survey:
    """What is known of an archive.

    Attributes:
        archive: opened.
        facts: what ``info`` says.
        parts: bytes by what they hold; they add up to ``packed_bytes``.
        along: rates and errors along the rows.
        oddest: the blocks whose rows take the most bits, the worst first.
        break_even: rows from which the model pays, if it ever does.
        view: how rows are shown; ``shown`` are some from all over, ``odd`` those that take the most bits.
        training: loss on rows that taught and score on others, float64 [n] each, relative to the first score; None if
            no network was trained, or the archive is older.
        errors: of all values; None without a source, or where there are none.
        sample: rows [n, *row_shape] to try other bounds on, originals if there is a source.
    """

    archive: Archive
    facts: dict[str, Any]
    view: View
    along: Along
    parts: Counter[str] = field(default_factory=Counter)
    oddest: list[Odd] = field(default_factory=list)
    break_even: int | None = None
    shown: Shown = field(default_factory=lambda: Shown(()))
    odd: Shown = field(default_factory=lambda: Shown(()))
    training: tuple[Array, Array] | None = None
    errors: Errors | None = None
    sample: Array | None = None


def survey(path: Where, against: Any, progress: Progress) -> Survey:
    """Look at every block of an archive; with a source, compare every value as well.

    Raises:
        ArchiveError: the archive cannot be read or is damaged.
        VerificationError: the source is not the one that was packed.
    """
    archive = Archive(path)
    source = None if against is None else matching(archive, against)
    facts = info(path)
    view = View.of(archive.spec)
    found = Survey(archive, facts, view, Along.over(facts["blocks"]), shown=Shown(view.rows))
    found.training = _training(archive.manifest.report.get("training"))
    _count_bytes(found, progress)
    if view.kind != "columns":
        found.odd = _odd_rows(found, progress)
    if source is None:
        found.shown.decoded = [view.look(row) for row in _picked(archive, view.rows)]
        found.sample = archive[slice(*_stretch(found))] if _samples(found) else None
    else:
        _compare(found, source, progress)
    return found


def _count_bytes(found: Survey, progress: Progress) -> None:
    """Sizes, rates and the oddest blocks; nothing is decoded."""
    reader, spec = ShardReader(found.archive.path), found.archive.spec
    rows, identity = len(found.archive), found.archive.model.identity
    payload = 0
    for block in reader.blocks(0, rows):
        frame = Frame.from_bytes(block.payload, identity)
        found.parts.update({f"rows: {name}": len(data) for name, data in frame.streams.items()})
        found.parts["rows: heads and checksums"] += len(block.payload) - frame.size
        found.along.add(block, block.rows * spec.row_size, rows)
        odd = Odd(8 * len(block.payload) / block.rows, block.start, block.rows, block.method, block.distortion)
        found.oddest = heapq.nlargest(_ODDEST, [*found.oddest, odd])
        payload += len(block.payload)
        progress("sizes", block.stop / rows, {})
    found.parts.update(_model_parts(reader.model() or b""))
    fragments = sum(fragment.bytes for fragment in reader.manifest.fragments)
    found.parts["Parquet, around the rows"] = fragments - payload
    found.parts["manifest"] = (found.archive.path / MANIFEST).stat().st_size
    found.parts["other files"] = found.facts["packed_bytes"] - found.parts.total()
    found.parts = +found.parts
    model = found.archive.model
    simple = int(model.simple * spec.raw_bytes)
    found.break_even = break_even(found.facts["model_bytes"], payload, simple, rows, model.turned)


def _model_parts(data: bytes) -> Counter[str]:
    """Bytes of a model file by tensor, those of a network together."""
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    parts: Counter[str] = Counter()
    for name, tensor in head.items():
        if name != "__metadata__":
            first, last = tensor["data_offsets"]
            parts[f"model: {name.partition('.')[0]}"] += last - first
    parts["model: description"] = len(data) - parts.total()
    return parts


def _compare(found: Survey, source: Source, progress: Progress) -> None:
    """Errors of all values, rows to show, and a sample, all from one pass over archive and source."""
    archive, rows = found.archive, len(found.archive)
    promised = restored(archive.manifest.report["distortion"]).max_abs
    whole = archive.dtype.kind in "iub"
    errors = Errors.within(promised, whole, archive.spec.row_shape) if promised else None
    sample = _Sample(*(_stretch(found) if _samples(found) else (0, 0)))
    odd: dict[int, Array] = {}
    for start, original, decoded in _pairs(archive, source):
        worst = distortion(original, decoded).max_abs
        if worst > promised:
            raise VerificationError(
                f"Rows {start} to {start + len(decoded)} are off by up to {worst:g}, but the archive promises "
                f"{promised:g}: the source is not the one that was packed."
            )
        if errors is not None:
            errors.add(original, decoded)
        shown = [row - start for row in found.shown.rows if start <= row < start + len(decoded)]
        found.shown.original += [found.view.look(original[i]) for i in shown]
        found.shown.decoded += [found.view.look(decoded[i]) for i in shown]
        odd |= {row: original[row - start] for row in found.odd.rows if start <= row < start + len(decoded)}
        sample.add(start, original)
        stop = start + len(decoded)
        progress("compare", stop / rows, {"bytes": stop * archive.spec.row_bytes})
    found.errors, found.sample = errors, sample.rows
    found.odd.original = [found.view.look(odd[row]) for row in found.odd.rows]


def _odd_rows(found: Survey, progress: Progress) -> Shown:
    """The rows that take the most bits, of the oddest blocks."""
    archive, best = found.archive, list[tuple[float, int, Array]]()
    for i, odd in enumerate(found.oddest):
        for block, values in archive.decoded(odd.start, odd.start + odd.rows):
            bits = _bits(archive, block, values)
            if bits is not None:
                rows = np.argsort(-bits, kind="stable")[:_ODD_ROWS].tolist()
                best += [(float(bits[row]), block.start + row, found.view.look(values[row])) for row in rows]
        progress("oddest", (i + 1) / len(found.oddest), {})
    best = sorted(best, key=lambda one: -one[0])[:_ODD_ROWS]
    notes = tuple(f", {bits:,.0f} bits" for bits, _, _ in best)
    return Shown(tuple(row for _, row, _ in best), notes, [seen for _, _, seen in best])


def _bits(archive: Archive, block: Block, values: Array) -> Array | None:
    """float64 [n], bits of each row as the model codes it; None if it cannot tell."""
    if not values.size:
        return None
    latents = archive.model.latents(block.payload)
    parts = [code_lengths(archive.model, values, latents)]
    if latents is not None:
        parts.append(latent_lengths(archive.model, latents))
    known = [part.reshape(len(values), -1).sum(1, dtype=np.float64) for part in parts if part is not None]
    return sum(known[1:], known[0]) if known else None


def _training(kept: Any) -> tuple[Array, Array] | None:
    """What the manifest says of a training, if that makes sense: it is free to say anything."""
    try:
        taught, held_out = (np.array(kept[name], np.float64) for name in ("loss", "held_out"))
    except (TypeError, KeyError, ValueError):
        return None
    return (taught, held_out) if taught.shape == held_out.shape and taught.ndim == 1 and len(taught) > 1 else None


@dataclass
class _Sample:
    """Rows start to stop, as they go by."""

    start: int
    stop: int
    rows: Array | None = None

    def add(self, start: int, batch: Array) -> None:
        piece = batch[max(self.start - start, 0) : max(self.stop - start, 0)].copy()
        if len(piece):
            self.rows = piece if self.rows is None else np.concatenate([self.rows, piece])


def _pairs(archive: Archive, source: Source) -> Iterator[tuple[int, Array, Array]]:
    """(first row, originals, reconstructions) of each block. Raises VerificationError where the source ends early."""
    taker = Taker(source, archive.manifest.block_rows)
    for block, decoded in archive.decoded(0, len(archive)):
        original = taker.take(block.rows)
        if original.shape != decoded.shape:
            raise VerificationError(f"The source ends before row {block.stop}; the archive goes on.")
        yield block.start, original, decoded


def _picked(archive: Archive, rows: tuple[int, ...]) -> Iterator[Array]:
    """Single rows in order; a block is decoded once, however many of its rows are wanted."""
    if not rows:
        return
    if rows[-1] - rows[0] + 1 == len(rows):
        yield from archive[rows[0] : rows[-1] + 1]
    else:
        yield from (archive[row] for row in rows)


def _samples(found: Survey) -> bool:
    return 0 < found.archive.spec.row_size <= _LONGEST_ROW and found.archive.dtype.kind != "b"


def _stretch(found: Survey) -> tuple[int, int]:
    """Rows of the sample: a stretch in the middle."""
    rows = len(found.archive)
    many = min(rows, max(1, SAMPLE_VALUES // found.archive.spec.row_size))
    return (rows - many) // 2, (rows + many) // 2
