"""The context model: everything learned about a set's integers, and the coder that uses it."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from aecompress.context import kernel, mixture
from aecompress.context.forest import plant
from aecompress.context.network import Network
from aecompress.context.passage import Decoder, Encoder, Way
from aecompress.context.regression import NO_STATE, Regression, State
from aecompress.context.relations import NO_LINKS, Links, Relations
from aecompress.context.sample import FRACTION, Sample
from aecompress.context.stencil import MOST_CHANNELS, MOST_REACH, MOST_STEPS, Layout, Step, geometry
from aecompress.context.tree import Tree
from aecompress.entropy import rans, record
from aecompress.entropy.record import within
from aecompress.entropy.tables import Tables
from aecompress.entropy.tokens import tokenized
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: Greatest magnitude of an integer the coder takes: leaves room for the fraction and the weights.
_MOST = 1 << 56

_MOST_TABLES = 1 << 14

#: log2 of the values in a part of a network's stream: the least and the most, and the least that is made.
_PARTS, _LEAST_PART = (6, 40), 12

#: So many parts of a block, for a decoder waits for the first and an encoder for what becomes of the last; but none of
#: fewer bits than the one number, for each takes some 15 bytes more, or of many more than the other.
_MANY_PARTS, _PART_BITS = 8, (1 << 15, 1 << 17)

#: The tables of a model whose network needs none.
NO_TABLES = Tables.from_counts(np.ones((1, 1), np.int64))

_EVENLY = np.ones(1)


@dataclass(frozen=True)
class Predictor:
    """Linear prediction from neighbours, in 1/2^16.

    Attributes:
        layout: how block shapes are read.
        steps: the neighbours of each channel, base first; one list if there are no channels.
        means: int64 [C] prediction where there is no neighbour.
        roots: int16 [8, C]: node of ``classes`` where the walk starts, by which outer neighbours exist and by channel.
        classes: trees that choose a row of weights by the nearest neighbours.
        weights: int32 [rows, K + 1] of the neighbours; the last is a constant.
        low, high: range predictions are clamped to.
    """

    layout: Layout
    steps: tuple[tuple[Step, ...], ...]
    means: Array
    roots: Array
    classes: Tree
    weights: Array
    low: int
    high: int

    @cached_property
    def listed(self) -> Array:
        """int64 [steps, 6]: the neighbours of all channels, one channel's behind another's."""
        return np.array([step for channel in self.steps for step in channel]).reshape(-1, 6)


@dataclass(frozen=True)
class Activity:
    """Expected size of the residual, in 1/2^7 of 1/2^FRACTION.

    Attributes:
        of_error, of_step: uint8 [C, K] weights of the neighbours' errors and differences.
        bias: int32 [C].
    """

    of_error: Array
    of_step: Array
    bias: Array


@dataclass(frozen=True)
class Followed:
    """A stream, and the block that a decoder made of it while it was made: int64 ``values`` of those ``coded``."""

    stream: bytes
    coded: Array
    values: Array

    def decode(self, data: bytes, coded: Array) -> Array | None:
        """The values, if ``data`` is that stream and ``coded`` as it was."""
        return self.values if data == self.stream and np.array_equal(coded, self.coded) else None


@dataclass(frozen=True)
class ContextModel:
    """Codes blocks of integers: ``encode`` and ``decode`` are each other's inverse on every machine.

    Attributes:
        predictor, activity: what a value and the size of its residual are expected to be.
        tree, tables: choose the frequencies of the residual; one leaf where a network does that.
        network: None, or what gives the distribution of each integer.
        regression: None, or what makes the reference, of the rows before and the row so far.
        relations: None, or formulas that make it, of the row so far; never both.
        part: log2 of the values in a part of a network's stream; None where that has one part, as before version 18.
    """

    predictor: Predictor
    activity: Activity
    tree: Tree
    tables: Tables
    network: Network | None = None
    regression: Regression | None = None
    relations: Relations | None = None
    part: int | None = None

    def encode(self, q: Array, coded: Array, reference: Array | None = None) -> bytes:
        """Stream for a block.

        Args:
            q: int64 [rows, ...] integers, of magnitude below 2^56.
            coded: bool, same shape: False where a value need not come back.
            reference: int64, same shape: an estimate both sides know, if the model was fitted with one; not where it
                makes its own.

        Raises CorruptError if the block or the reference is not of the kind the model was fitted to.
        """
        sample = Sample(q, coded, reference)
        if self.network is not None:
            stream = b"".join(self._encoder(self.network, sample).parts())
        else:
            folded, tables = self.residuals(sample)
            symbols = kernel.symbols(folded, tables, self.tables.cumulative)
            coded_words = rans.encode_symbols(symbols, tables, self.tables.cumulative, 1)
            stream = rans.join(coded_words, rans.encode_raw(folded, symbols, self.tables.escape))
        return self._with_signs(self._signs(q, coded), stream)

    def followed(self, q: Array, coded: Array) -> Followed:
        """The stream that ``encode`` makes of a block without a reference, and what it decodes to, of a network alone.

        Its decoder runs on a thread of its own: it begins with a part as soon as that is there.
        """
        assert self.network is not None
        encoder = self._encoder(self.network, Sample(q, coded))
        signs = self._signs(q, coded)
        decoder = self._decoder(self.network, Sample(np.zeros(q.shape, np.int64), coded), signs)
        with ThreadPoolExecutor(1) as thread:
            found = [(part, thread.submit(decoder.take, part)) for part in encoder.parts()]
        for _, taken in found:
            taken.result()
        return Followed(self._with_signs(signs, b"".join(part for part, _ in found)), coded, decoder.values)

    def decode(self, data: bytes, coded: Array, reference: Array | None = None) -> Array:
        """The int64 block of a stream; values that were not coded come back as some value near them."""
        signs, stream = (b"", memoryview(data)) if self.relations is None else rans.apart(data)
        blank = Sample(np.zeros(coded.shape, np.int64), coded, reference)
        if self.network is not None:
            decoder = self._decoder(self.network, blank, signs)
            while not decoder.done:
                stream = decoder.take(stream)
            _fit(not stream)
            return decoder.values
        blank, learning, links = self._blank(blank, signs)
        words, raw = rans.split(stream)
        q, fine = blank.flat(), blank.fine()
        flags = np.ascontiguousarray(coded).reshape(-1)
        frequencies = self.tables.lookup, self.tables.cumulative
        loose = *frequencies, *kernel.fresh(q.size, self.plan)
        near = stencil(self.predictor, coded.shape)
        kernel.restore(q, flags, near, self.plan, learning, links, fine, words, raw, *loose)
        return q[: coded.size].reshape(coded.shape)

    def _encoder(self, network: Network, sample: Sample) -> Encoder:
        regression = self.regression if sample.made is None else None
        if regression is None:
            sample = self._known(sample)
        return Encoder(sample, self._way(network, sample), regression)

    def _decoder(self, network: Network, sample: Sample, signs: bytes | memoryview) -> Decoder:
        """Of a block of zeros."""
        blank, learning, links = self._blank(sample, signs)
        return Decoder(blank, self._way(network, blank), learning, links)

    def _way(self, network: Network, sample: Sample) -> Way:
        return Way(stencil(self.predictor, sample.q.shape), self.plan, network, self.part)

    def _blank(self, sample: Sample, signs: bytes | memoryview) -> tuple[Sample, State, Links]:
        """A block of zeros with room for what is made of it, and what makes that."""
        learning, links, shape = NO_STATE, NO_LINKS, sample.q.shape
        if self.regression is not None or self.relations is not None:
            sample = replace(sample, made=np.zeros(shape, np.int64))
        if self.regression is not None:
            learning = self.regression.state(shape)
        if self.relations is not None:
            links = self.relations.links(self.relations.decode_signs(bytes(signs), shape))
        self._check(sample)
        return sample, learning, links

    def _signs(self, q: Array, coded: Array) -> bytes:
        """Of what relations know but for that; nothing where there are none."""
        return b"" if self.relations is None else self.relations.encode_signs(q, coded)

    def _with_signs(self, signs: bytes, stream: bytes) -> bytes:
        return stream if self.relations is None else rans.behind(signs, stream)

    def residuals(self, sample: Sample) -> tuple[Array, Array]:
        """Zigzagged residuals uint64 [n] and table indices uint16 [n] of the coded values."""
        return describe(self.predictor, self.plan, self._known(sample))[:2]

    def lengths(self, sample: Sample) -> Array:
        """float32 [rows, ...], bits of each value in the stream that ``encode`` makes; 0 where none is coded.

        A sign that is told counts as one.
        """
        found = np.zeros(sample.q.shape, np.float32)
        if self.network is not None:
            slots = self._encoder(self.network, sample).slots()
            lengths = [mixture.PRECISION - np.log2(spans) + widths for _, spans, _, widths in slots]
            found[sample.coded] = np.concatenate(lengths) if lengths else 0.0
        else:
            folded, tables = self.residuals(sample)
            found[sample.coded] = self.tables.prices[tables, tokenized(folded)]
        return found if self.relations is None else found + sample.coded * self.relations.sign_bits

    def thrifty(self, values: Array, q: Array, coded: Array, price: float, weights: Array = _EVENLY) -> Array:
        """int64 [rows, ...] integers near ``values`` that save more bits than they cost in squared error.

        Args:
            values: float64 [rows, ...], in cells.
            q: int64, same shape: the nearest integers.
            coded: bool, same shape.
            price: squared error, in cells, that a bit is worth.
            weights: float64 of squared errors, one for each entry of the last axis.

        A regression expects what it would of the nearest integers: prices are then about right.
        """
        sample = self._known(Sample(q, coded))
        flags, chosen = np.ascontiguousarray(coded).reshape(-1), sample.flat()
        folded, tables = np.empty(q.size, np.uint64), np.empty(q.size, np.uint16)
        none = np.empty((0, len(kernel.FEATURES)), np.int16)
        near = stencil(self.predictor, q.shape)
        wanted = np.ascontiguousarray(values, np.float64).reshape(-1)
        prices = price * self.tables.prices
        new = kernel.fresh(chosen.size, self.plan)
        fine = sample.fine()
        kernel.residuals(chosen, flags, near, self.plan, fine, folded, tables, none, wanted, weights, prices, *new)
        return np.where(coded, chosen[: q.size].reshape(q.shape), q)

    def _known(self, sample: Sample) -> Sample:
        """The block with what is made of it, checked."""
        sample = self.informed(sample)
        self._check(sample)
        return sample

    def informed(self, sample: Sample) -> Sample:
        """The block with what the regression or the relations make of it, if there are such."""
        maker = self.regression or self.relations
        return sample if maker is None else maker.informed(sample)

    def _check(self, sample: Sample) -> None:
        """A stencil that looks at a reference needs one; a fit may have found that none of it pays."""
        _fit(sample.has_reference or not self.predictor.listed[:, 5].any())
        _fit(sample.reference is None or sample.reference.shape == sample.coded.shape)

    @property
    def reach(self) -> int:
        """How many positions the farthest neighbour is away along an axis."""
        return int(np.abs(self.predictor.listed[:, :4]).max())

    @cached_property
    def plan(self) -> kernel.Plan:
        """The learned numbers as the compiled loops want them."""
        return plan(self.predictor, self.activity, self.tree)

    def to_bytes(self) -> bytes:
        """Everything a decoder needs, compressed."""
        return self._bytes

    @cached_property
    def _bytes(self) -> bytes:
        p, a, t = self.predictor, self.activity, self.tree
        grain = int(np.gcd.reduce(p.weights[..., :-1], axis=None)) or 1
        head = [p.layout.depth, int(p.layout.channels), p.low, p.high, grain]
        head += [] if self.part is None else [self.part]
        shared = bool((a.of_error == a.of_error[:1]).all() and (a.of_step == a.of_step[:1]).all())
        sizes = [a.of_error[:1], a.of_step[:1]] if shared else [a.of_error, a.of_step]
        arrays = [
            np.array(head),
            np.array([len(channel) for channel in p.steps]),
            p.listed.T,
            p.means,
            p.roots,
            p.classes.feature,
            p.classes.threshold,
            p.classes.child,
            (p.weights[:, :-1] // grain).T,
            p.weights[:, -1] >> (kernel.WEIGHT - FRACTION),
            *sizes,
            a.bias,
            t.feature,
            t.threshold,
            t.child,
            self.tables.levels.T,
            *([] if self.regression is None else self.regression.arrays()),
            *([] if self.relations is None else self.relations.arrays()),
            *([] if self.network is None else self.network.arrays()),
        ]
        return record.pack(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> ContextModel:
        """Rebuild a model. Raises CorruptError if anything in it is impossible."""
        arrays = record.unpack(data)
        try:
            return _Parts(arrays).model()
        except (IndexError, TypeError, ValueError) as err:
            raise CorruptError("The context model's arrays do not fit together; the file is damaged.") from err


def describe(
    predictor: Predictor, numbers: kernel.Plan, sample: Sample, *, features: bool = False
) -> tuple[Array, Array, Array]:
    """Zigzagged residuals [n], table indices [n] and, if asked for, features int16 [n, F] of the coded values.

    Of the features those that ``numbers`` have no room for are 0.
    """
    size = sample.q.size
    folded, tables = np.empty(size, np.uint64), np.empty(size, np.uint16)
    described = np.zeros((size if features else 0, len(kernel.FEATURES)), np.int16)
    q = sample.flat()
    n = kernel.residuals(
        q,
        np.ascontiguousarray(sample.coded).reshape(-1),
        stencil(predictor, sample.q.shape),
        numbers,
        sample.fine(),
        folded,
        tables,
        described,
        np.empty(0),
        _EVENLY,
        np.empty((0, 0)),
        *kernel.fresh(q.size, numbers),
    )
    return folded[:n], tables[:n], described[:n]


def part_of(bits: float, values: int) -> int:
    """log2 of the values in a part, where the values of a block, so many, take so many bits each."""
    wanted = min(max(bits * values / _MANY_PARTS, _PART_BITS[0]), _PART_BITS[1])
    return min(max(math.ceil(math.log2(wanted / max(bits, 1e-9))), _LEAST_PART), _PARTS[1])


def plan(predictor: Predictor, activity: Activity, tree: Tree, *, errors: bool = False) -> kernel.Plan:
    """The learned numbers as the compiled loops want them; with ``errors`` as if the tree asked about these."""
    span = max(predictor.high - predictor.low, 1)
    errors = errors or bool(np.isin(tree.feature, kernel.ORDER[kernel.WITHOUT_ERRORS :]).any())
    return kernel.Plan(
        predictor.means,
        plant(predictor.classes, predictor.roots.reshape(-1), np.arange(len(kernel.LOOKS))),
        _weights(predictor.weights.astype(np.int64)),
        np.int64(predictor.low),
        np.int64(predictor.high),
        _terms(activity.of_error),
        _terms(activity.of_step),
        activity.of_error.astype(np.int64).reshape(-1),
        activity.bias.astype(np.int64),
        np.int64(max(span.bit_length() - 8, 0)),
        plant(tree, np.zeros(1, np.int64), kernel.ORDER[: None if errors else kernel.WITHOUT_ERRORS]),
    )


def _weights(weights: Array) -> Array:
    """Weights of the base and of others' differences from it as weights of the neighbours, one row after the other.

    int64 wraps around, so both sums are the same to the bit.
    """
    base = weights[:, :1] - weights[:, 1:-1].sum(1, keepdims=True)
    return np.concatenate([base, weights[:, 1:], weights[:, :1]], 1).reshape(-1)


def _terms(weights: Array) -> Array:
    """Weights [C, K] of errors or of differences as a list of (neighbour, weight) of each channel, without those that
    are 0; behind them -1."""
    channels, width = weights.shape
    out = np.full((channels, 2 * width + 1), -1, np.int64)
    channel, neighbour = np.nonzero(weights)
    place = 2 * (np.cumsum(weights > 0, 1)[channel, neighbour] - 1)
    out[channel, place], out[channel, place + 1] = neighbour, weights[channel, neighbour]
    return out.reshape(-1)


def stencil(predictor: Predictor, shape: tuple[int, ...]) -> kernel.Stencil:
    """Offsets for blocks of ``shape``. Raises CorruptError if they have other channels than the predictor."""
    _fit(predictor.layout.canonical(shape)[4] == len(predictor.steps))
    return _stencil(predictor.layout, predictor.steps, shape)


@lru_cache(maxsize=16)
def _stencil(layout: Layout, steps: tuple[tuple[Step, ...], ...], shape: tuple[int, ...]) -> kernel.Stencil:
    table = geometry(layout.canonical(shape), steps)
    width = np.int64(table.offsets.shape[2])
    b, y, x = (np.arange(n) * 64 // max(n, 1) for n in table.size[1:4])
    size = np.array(table.size, np.int64)
    return kernel.Stencil(size, table.rows, (b, y, x), width, table.offsets.reshape(-1), table.sets)


class _Parts:
    """Checks the arrays of a stored model, so that the compiled loops can trust every index in it."""

    def __init__(self, arrays: list[Array]) -> None:
        _require(len(arrays) in (17, 19, 20, 21, 23, 25, 26, 27) and arrays[1].ndim == 1)
        _require(arrays[0].shape == (5,) or (arrays[0].shape == (6,) and within(arrays[0][5:], *_PARTS)))
        self.arrays = arrays
        self.channels = len(arrays[1])
        _require(1 <= self.channels <= MOST_CHANNELS)

    def model(self) -> ContextModel:
        predictor = self._predictor()
        tree = _tree(self.arrays[13:16], len(kernel.FEATURES))
        levels = self.arrays[16].T
        _require(len(levels) == tree.tables <= _MOST_TABLES)
        tables = Tables.from_levels(levels)
        width = predictor.weights.shape[1] - 1
        rest = self.arrays[17:]
        regression = Regression.from_arrays(rest[: len(rest) % 6]) if len(rest) % 6 in (2, 4) else None
        relations = Relations.from_arrays(rest[:3], self.channels) if len(rest) % 6 == 3 else None
        network = Network.from_arrays(rest[-6:], width, self.channels) if len(rest) >= 6 else None
        part = int(self.arrays[0][5]) if len(self.arrays[0]) > 5 else None
        return ContextModel(predictor, self._activity(width), tree, tables, network, regression, relations, part)

    def _predictor(self) -> Predictor:
        (depth, has_channels, low, high, grain, *_), counts, flat, means, roots = self.arrays[:5]
        _require(1 <= depth <= 4 and has_channels in (0, 1) and -_MOST <= low <= high <= _MOST and 1 <= grain <= 2**24)
        _require(int(counts.min()) >= 1 and int(counts.max()) <= MOST_STEPS)
        _require(flat.shape == (6, int(counts.sum())) and (has_channels == 1 or self.channels == 1))
        steps = _steps(flat, counts)
        _require(means.shape == (self.channels,) and within(means, -_MOST, _MOST))
        classes = _tree(self.arrays[5:8], len(kernel.LOOKS))
        _require(roots.shape == (8, self.channels))
        _require(within(roots, 0, len(classes.feature) - 1))
        weights = self._weights(int(counts.max()), classes.tables, int(grain))
        layout = Layout(int(depth), bool(has_channels))
        return Predictor(
            layout,
            steps,
            means,
            roots.astype(np.int16),
            classes,
            weights,
            int(low),
            int(high),
        )

    def _weights(self, width: int, rows: int, grain: int) -> Array:
        weights, constants = self.arrays[8:10]
        _require(weights.shape == (width, rows) and constants.shape == (rows,))
        full = np.concatenate(
            [
                weights.T * grain,
                constants[:, None] << (kernel.WEIGHT - FRACTION),
            ],
            1,
        )
        _require(within(full, -(2**31) + 1, 2**31 - 1))
        return full.astype(np.int32)

    def _activity(self, width: int) -> Activity:
        of_error, of_step, bias = self.arrays[10:13]
        for part in (of_error, of_step):
            _require(part.shape in ((1, width), (self.channels, width)))
            _require(within(part, 0, 255))
        _require(bias.shape == (self.channels,) and within(bias, -(2**30), 2**30))
        full = (self.channels, width)
        spread = [np.ascontiguousarray(np.broadcast_to(part, full).astype(np.uint8)) for part in (of_error, of_step)]
        return Activity(spread[0], spread[1], bias.astype(np.int32))


def _tree(arrays: list[Array], features: int) -> Tree:
    """A forest whose walks end, at leaves numbered from 0."""
    feature, threshold, child = arrays
    n = len(feature)
    _require(feature.shape == threshold.shape == child.shape == (n,) and 1 <= n < 2**15)
    leaf = feature < 0
    _require(within(feature, -1, features - 1) and within(threshold, -(2**15) + 1, 2**15 - 1))
    # children come after their parent, so every walk ends
    _require(bool((child[~leaf] > np.flatnonzero(~leaf)).all()) and within(child[~leaf], 0, n - 2))
    # and have no other, so parts of the forest are few
    _require(bool((np.diff(np.sort(child[~leaf])) >= 2).all()))
    _require(within(child[leaf], 0, int(leaf.sum()) - 1))
    return Tree(feature.astype(np.int16), threshold.astype(np.int16), child.astype(np.int16))


def _steps(flat: Array, counts: Array) -> tuple[tuple[Step, ...], ...]:
    """So many causal steps, columns of ``flat`` int64 [6, steps], of each channel, that stay within the channels."""
    *ways, channel, reference = flat
    channels, ends = len(counts), np.cumsum(counts)
    _require(within(flat[:4], -MOST_REACH, MOST_REACH) and within(reference, 0, 1))
    _require(within(channel, -channels, channels))
    _require(within(np.repeat(np.arange(channels), counts) + channel, 0, channels - 1))
    leading = channel
    for way in reversed(ways):
        leading = np.where(way == 0, leading, way)
    _require(bool(((leading < 0) | (reference == 1)).all()))
    steps = [tuple(step) for step in flat.T.tolist()]
    return tuple(tuple(steps[end - count : end]) for end, count in zip(ends.tolist(), counts.tolist(), strict=True))


def _fit(held: bool) -> None:
    if not held:
        raise CorruptError("A block does not fit its context model; the archive is damaged.")


def _require(held: bool) -> None:
    if not held:
        raise CorruptError("The context model holds impossible numbers; the file is damaged.")
