"""Fit a context model to sample blocks: layout, prediction, activity, tree, tables, in that order.

Each step is closed form or greedy, so a fit takes seconds. What is kept is decided by total bits, model included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np

from aecompress.abreast import abreast, one_thread
from aecompress.config import Progress, silent
from aecompress.context import classes, kernel
from aecompress.context.coder import (
    NO_TABLES,
    Activity,
    ContextModel,
    Predictor,
    describe,
    part_of,
    plan,
    stencil,
)
from aecompress.context.discovery import discover
from aecompress.context.network import LANES, MOST_INPUTS, inputs_of
from aecompress.context.proposals import Proposal, learned, regressions
from aecompress.context.regression import Regression, columns_of
from aecompress.context.relations import Relations
from aecompress.context.sample import FRACTION, Sample, chosen
from aecompress.context.selection import bits_of, forward
from aecompress.context.stencil import (
    Layout,
    Step,
    are_aligned,
    channel_steps,
    column_layouts,
    has_far,
    layouts,
    reference_steps,
    shared_layouts,
    spatial_steps,
)
from aecompress.context.training import lesson, train
from aecompress.context.tree import STUMP, Tree, grow
from aecompress.entropy import record
from aecompress.entropy.tables import Tables
from aecompress.entropy.tokens import tokenized
from aecompress.spec import Array

#: Values that layouts are compared on.
TRIAL_VALUES = 300_000

#: A set that takes fewer bits has nothing to win from a network, which itself takes some thousand bytes.
_LEAST_BITS = 200_000.0

#: A vector of units in each layer of the network, for every so many bits of the set: more take longer and more bytes.
_VECTOR_BITS, _FEWEST_VECTORS = 400_000, 2

#: Most leaves of the context tree, and of a quick one as many as have room in one mask of ``forest``.
_MOST_TABLES, _QUICK_TABLES = 512, 64

#: Most samples whose parts layouts are compared on.
_MOST_PARTS = 4

#: So many layouts that take at most this many times the bits of the best on a part of the samples are tried on one this
#: much larger.
_MOST_CLOSE, _CLOSE, _LONGER = 3, 1.15, 2

_SETS = 8
_SIZE_ROWS = 100_000  # rows that activity weights are fitted to
_CHOSEN, _QUICKLY_CHOSEN = 20, 10  # neighbours a channel chooses, and those of any layout that is quick
_STEP_BITS = 32.0  # that each of them must save

#: A regression over the columns is tried if its errors take at most so many bits more than those of neighbours.
_NEAR_BITS = 0.5


@dataclass(frozen=True)
class _Lessons:
    """How many values, at random places of the samples, weights and activity are fitted to, and the tree."""

    weights: int
    tree: int


# Layouts that are compared are fitted to fewer values than the model that stays: all of them lose by that alike.
_FOR_GOOD, _FOR_TRIALS = _Lessons(400_000, 1_500_000), _Lessons(100_000, 400_000)

#: What the activity is fitted to: neighbours' errors and differences float32 [n, 2 K], errors [n], channels [n].
Errors = tuple[Array, Array, Array]


@one_thread()
def fit(
    samples: Sequence[Sample],
    total: int,
    layout: Layout | None = None,
    *,
    with_classes: bool = True,
    quick: bool = False,
    fixed: bool = False,
    spread: Sequence[Sample] = (),
) -> ContextModel:
    """Fit to ``samples``, blocks of one row shape, that stand for ``total`` values of the whole set.

    Every layout is tried on part of the samples unless one is given, those that come close on the largest and on parts
    ``spread`` over the set. A regression may change the layout unless it is ``fixed``. Without classes of predictions
    it takes a third of the time and some percent more bits.

    A ``quick`` coder takes 2 to 10 % more bits and three quarters of the time for a block: it looks at few neighbours,
    none of them far, has no classes and a tree of few leaves that does not ask about errors, and makes nothing of
    columns.
    """
    samples = [s for s in samples if s.coded.any()]
    if not samples:
        return _empty()
    if layout is None or (layout.far is None and with_classes):
        tried = [layout] if layout else layouts(samples[0].q.shape)
        if with_classes:
            layout = _reading(samples, spread, total, tried, quick)
        else:
            layout = _roughly(samples, total, tried, 1.0, quick)[0]
    regression = relations = None
    if with_classes and not quick:
        layout, relations = _related(samples, total, layout, fixed=fixed)
        if relations is None:
            layout, regression = _regressed(samples, total, layout, fixed=fixed)
    maker = regression or relations
    if maker is not None:
        samples = list(abreast(maker.informed, samples))
    model, _ = _fit_layout(samples, layout, total, with_classes=with_classes, quick=quick)
    return replace(model, regression=regression, relations=relations)


def cost(model: ContextModel, samples: Sequence[Sample], total: int) -> float:
    """Bits of a set of ``total`` values, model included, by what the model makes of samples."""
    return _whole(model, bits(model, samples), samples, total)


def _whole(model: ContextModel, spent: float, samples: Sequence[Sample], total: int) -> float:
    """Bits of a set of ``total`` values, model included, where samples take ``spent`` of them."""
    return spent * (total / sum(int(s.coded.sum()) for s in samples)) + 8.0 * len(model.to_bytes())


def turned(part: Sample, total: int) -> tuple[Layout, float, float] | None:
    """How to read a part of a set whose columns were its rows, and about the bits of the whole set so and as it came.

    Both are of rough coders, the former with a regression over the columns; None where that is not near the other.
    """
    if part.q.ndim < 2 or columns_of(part.q.shape) != part.q.shape[-1]:
        return None
    q, coded = (np.ascontiguousarray(np.moveaxis(values, -1, 0)) for values in (part.q, part.coded))
    back = Sample(q, coded)
    best = learned([part], part)[0]
    alone = min(_neighbour_bits(back, layout, total) for layout in layouts(back.q.shape))
    rivals = column_layouts(part.q.shape)
    if not rivals or best.missed > min(alone + _NEAR_BITS, _centred_bits(part, best.found)):
        return None
    costs = _costs([best.found.informed(part)], rivals, total, with_classes=False)
    layout, regression = _regressed([back], total, _roughly([back], total, layouts(back.q.shape), 1.0)[0])
    back = back if regression is None else regression.informed(back)
    return rivals[int(np.argmin(costs))], min(costs), _costs([back], [layout], total, with_classes=False)[0]


def _neighbour_bits(part: Sample, layout: Layout, total: int) -> float:
    """About how many bits an error takes where values are expected from their neighbours alone."""
    predictor = _fit_predictor([part], layout, total, _FOR_TRIALS.weights)
    return _error_bits(_collect_errors([part], predictor, _FOR_TRIALS.weights))


def largest(samples: Sequence[Sample]) -> Sample:
    """The middle of the sample of most values, of about as many as rivals are compared on."""
    return _part([_fullest(samples)], _LONGER * TRIAL_VALUES)[0]


def _fullest(samples: Sequence[Sample]) -> Sample:
    """The sample of most values."""
    return max(samples, key=lambda s: int(s.coded.sum()))


def _middle(sample: Sample) -> Sample:
    """Rows from the middle of a sample, about as many values as rivals are compared on."""
    rows = len(sample.q)
    most = min(max(_LONGER * TRIAL_VALUES * rows // sample.q.size, 1), rows)
    return sample.rows((rows - most) // 2, most)


def _regressed(
    samples: Sequence[Sample], total: int, layout: Layout, *, fixed: bool = False
) -> tuple[Layout, Regression | None]:
    """A regression over the columns of rows and the layout to go with it, if a coder takes fewer bits so.

    It is tried on part of the largest sample, if its errors are about as small as those of neighbours, and smaller than
    those of each column's mean.
    """
    part, columns = largest(samples), columns_of(samples[0].q.shape)
    if part.has_reference or columns is None or columns != columns_of(part.q.shape):
        return layout, None
    whole = _fullest(samples)
    tried = regressions(samples, whole, total)
    missed = min(one.missed for one in tried)
    if missed > min(_neighbour_bits(part, layout, total) + _NEAR_BITS, _centred_bits(part, tried[0].found)):
        return layout, None
    before = _costs([_middle(whole)], [layout], total)[0]
    first, *others = tried
    cost, rival = _cheapest(_middle(first.without.informed(whole)), total, layout, fixed=fixed)

    def costs(one: Proposal) -> float:
        """In the layout that is best for the first: others are hardly better in another."""
        return _costs([_middle(one.without.informed(whole))], [rival], total)[0]

    found = [cost + first.bits, *(cost + one.bits for one, cost in zip(others, abreast(costs, others), strict=True))]
    best = int(np.argmin(found))
    return (rival, tried[best].found) if found[best] < before else (layout, None)


def _cheapest(part: Sample, total: int, layout: Layout, *, fixed: bool) -> tuple[float, Layout]:
    """The fewest bits of the whole set, by part of it, and the layout that takes them once a regression is there."""
    apart = column_layouts(part.q.shape)
    if fixed or not apart:
        rivals = [layout]
    elif layout in apart:
        rivals = [layout, *shared_layouts(part.q.shape)]
    else:
        costs = _costs([part], apart, total, with_classes=False) if len(apart) > 1 else [0.0]
        rivals = [layout, apart[int(np.argmin(costs))]]
    costs = _costs([part], rivals, total)
    return min(costs), rivals[int(np.argmin(costs))]


def _related(
    samples: Sequence[Sample], total: int, layout: Layout, *, fixed: bool = False
) -> tuple[Layout, Relations | None]:
    """Formulas of columns by those before them and the layout to go with them, if a coder takes fewer bits so."""
    apart = [rival for rival in column_layouts(samples[0].q.shape) if not fixed or rival == layout]
    if not apart or any(s.has_reference for s in samples):
        return layout, None
    found = discover(samples, total)
    if found is None:
        return layout, None
    part = largest(samples)
    before, costs = _costs([part], [layout], total)[0], _costs([found.informed(part)], apart, total)
    signs = len(found.encode_signs(part.q, part.coded)) * 8.0 * total / int(part.coded.sum())
    extra = signs + 8.0 * len(record.pack(found.arrays()))
    return (apart[int(np.argmin(costs))], found) if min(costs) + extra < before else (layout, None)


def _centred_bits(sample: Sample, regression: Regression) -> float:
    """The same where each column's centre is expected."""
    missed = sample.q.reshape(-1, len(regression.centres)) - regression.centres
    return bits_of(missed.reshape(sample.q.shape)[sample.coded])


def _reading(
    samples: Sequence[Sample], spread: Sequence[Sample], total: int, tried: Sequence[Layout], quick: bool
) -> Layout:
    """The layout of the fewest bits, far or near, of those that come close without classes of predictions.

    They are tried on the largest sample, for parts of many may be too few lines to tell, and on what is spread over the
    set, which may differ from place to place.
    """
    close = _roughly(samples, total, tried, _CLOSE, quick) if len(tried) > 1 else tried
    shape = samples[0].q.shape
    rivals = [replace(layout, far=reach) for layout in close for reach in _reaches(layout, shape, quick)]
    if len(rivals) == 1:
        return rivals[0]
    return rivals[int(np.argmin(_costs([largest(samples), *spread], rivals, total, quick=quick)))]


def _roughly(
    samples: Sequence[Sample], total: int, tried: Sequence[Layout], close: float, quick: bool = False
) -> list[Layout]:
    """The few layouts, the best first, that take at most ``close`` times the fewest bits on a part of the samples,
    without classes."""
    costs = _costs(_part(samples, TRIAL_VALUES), tried, total, with_classes=False, quick=quick)
    order = np.argsort(costs, kind="stable")[:_MOST_CLOSE]
    return [tried[i] for i in order if costs[i] <= close * min(costs)]


def _reaches(layout: Layout, shape: tuple[int, ...], quick: bool) -> list[bool]:
    """Whether the layout may reach far.

    Along moments and across planes it always does where it can, since a network makes 1 to 5 % of what lies there even
    where trees make nothing of it; along lines it is tried.
    """
    if quick or not has_far(layout, shape):
        return [False]
    return [False, True] if layout.depth == 2 else [True]


def _part(samples: Sequence[Sample], values: int) -> list[Sample]:
    """The middles of a few of the samples, of about so many values together: of many each would have few lines."""
    few = samples[:: -(-len(samples) // _MOST_PARTS)]
    parts = [s.crop(values // len(few)) for s in few]
    return [s for s in parts if s.coded.any()] or list(few)


def _costs(
    samples: Sequence[Sample],
    tried: Sequence[Layout],
    total: int,
    *,
    with_classes: bool = True,
    quick: bool = False,
) -> list[float]:
    """Bits of the whole set, model included, in each layout."""

    def costs(layout: Layout) -> float:
        model, spent = _fit_layout(samples, layout, total, _FOR_TRIALS, with_classes=with_classes, quick=quick)
        return _whole(model, spent, samples, total)

    return list(abreast(costs, tried))


def _empty() -> ContextModel:
    """A model for sets without a single value to code."""
    steps: tuple[tuple[Step, ...], ...] = (((0, 0, 0, -1, 0, 0),),)
    predictor = _naive(Layout(1, False), steps, np.zeros(1, np.int64), 0, 0)
    activity = Activity(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), np.zeros(1, np.int32))
    return ContextModel(predictor, activity, STUMP, NO_TABLES)


def bits(model: ContextModel, samples: Sequence[Sample]) -> float:
    """Code length of ``samples`` in bits."""
    if model.network is None:
        told = 0.0 if model.relations is None else model.relations.sign_bits
        return _spent(model, _counts(model, samples)) + sum(float((s.coded * told).sum()) for s in samples)
    return sum(abreast(lambda s: float(model.lengths(s).sum(dtype=np.float64)), samples))


def _counts(model: ContextModel, samples: Sequence[Sample]) -> Array:
    """int64 [tables, 256]: how often each table of a model without a network meets each token."""
    many = model.tree.tables

    def count(sample: Sample) -> Array:
        folded, tables = model.residuals(sample)
        return np.bincount(tables.astype(np.int64) * 256 + tokenized(folded), minlength=256 * many)

    return sum(abreast(count, samples), np.zeros(256 * many, np.int64)).reshape(many, 256)


def _spent(model: ContextModel, count: Array) -> float:
    """Bits of tokens met so often, and of what follows them."""
    return model.tables.bits(count) + float(count.sum(0) @ kernel.RAW_WIDTHS)


def with_network(
    model: ContextModel,
    samples: Sequence[Sample],
    total: int,
    units: int,
    steps: int,
    seconds: float,
    seed: int,
    progress: Progress = silent,
) -> tuple[ContextModel, float]:
    """The model with a network in place of its context tree, where that takes fewer bits, its own included.

    The second is how many bits of a coded value that saves, without the model's own.

    Args:
        model: as ``fit`` made it of the samples.
        total: values of the whole set.
        units: of each layer of the network at most; it gets fewer for a set of few bits.
        steps: batches it is trained on, as long as ``seconds`` are not over.
        seed: of everything random.
        progress: called as progress(phase, share done, facts).
    """
    samples = [s for s in samples if s.coded.any()]
    samples = list(abreast(model.informed, samples))
    seen = sum(int(s.coded.sum()) for s in samples)
    if model.network is not None or not seen or inputs_of(model.predictor.weights.shape[1] - 1) > MOST_INPUTS:
        return model, 0.0
    share = total / seen
    spent = bits(model, samples)
    now = spent * share + 8.0 * len(model.to_bytes())
    if now < _LEAST_BITS:
        return model, 0.0
    learned = lesson(samples, model.predictor, model.activity)
    vectors = min(max(int(now / _VECTOR_BITS), _FEWEST_VECTORS), units // LANES)
    network = train(learned, vectors * LANES, steps, seconds, total, seed, progress)
    part = part_of(now / total, max(s.q.size for s in samples))
    rival = replace(model, tree=STUMP, tables=NO_TABLES, network=network, part=part)
    saved = spent - bits(rival, samples)
    pays = saved * share > 8.0 * (len(rival.to_bytes()) - len(model.to_bytes()))
    return (rival, saved / seen) if pays else (model, 0.0)


def _fit_layout(
    samples: Sequence[Sample],
    layout: Layout,
    total: int,
    lessons: _Lessons = _FOR_GOOD,
    *,
    with_classes: bool = True,
    quick: bool = False,
) -> tuple[ContextModel, float]:
    """The model of this layout, and the bits of the samples by it."""
    predictor = _fit_predictor(samples, layout, total, lessons.weights, quick=quick)
    predictor, activity = _fit_errors(
        samples, predictor, total, lessons.weights, with_classes=with_classes and not quick
    )
    tree = _fit_tree(samples, predictor, activity, total, lessons.tree, quick=quick)
    model = ContextModel(
        predictor,
        activity,
        tree,
        Tables.from_counts(np.ones((tree.tables, 1), np.int64)),
    )
    return _with_tables(model, samples, total)


def _fit_errors(
    samples: Sequence[Sample], predictor: Predictor, total: int, values: int, *, with_classes: bool
) -> tuple[Predictor, Activity]:
    """The predictor, with classes where its errors are smaller so, and how large they are expected to be."""
    errors = _collect_errors(samples, predictor, values)
    if with_classes:
        refined = classes.refine(predictor, *_collect(samples, predictor, values), total)
        found = _collect_errors(samples, refined, values)
        if _error_bits(found) < _error_bits(errors):
            predictor, errors = refined, found
    return predictor, _fit_activity(predictor, errors)


def _with_tables(model: ContextModel, samples: Sequence[Sample], total: int) -> tuple[ContextModel, float]:
    """The model with tables of the tokens of the samples, and the bits of these by it.

    What a split saves is estimated while a tree grows, and a table costs more as it is stored. So the last splits are
    taken back while the bits of the whole set become fewer.
    """
    count = _counts(model, samples)
    model = replace(model, tables=Tables.from_counts(count))
    spent = _spent(model, count)
    least = _whole(model, spent, samples, total)
    while model.tree.tables > 1:
        tree, into = model.tree.cut(model.tree.tables * 3 // 4)
        merged = np.zeros((tree.tables, count.shape[1]), np.int64)
        np.add.at(merged, into, count)
        rival = replace(model, tree=tree, tables=Tables.from_counts(merged))
        by_rival = _spent(rival, merged)
        cost = _whole(rival, by_rival, samples, total)
        if cost >= least:
            break
        model, count, spent, least = rival, merged, by_rival, cost
    return model, spent


# --- prediction -----------------------------------------------------------------------------------------------------


def _fit_predictor(
    samples: Sequence[Sample], layout: Layout, total: int, values: int, *, quick: bool = False
) -> Predictor:
    channels = layout.canonical(samples[0].q.shape)[4]
    reference = reference_steps(layout.depth) if samples[0].has_reference else []
    if samples[0].made is not None:
        reference = [step for step in reference if step[:4] <= (0, 0, 0, 0)]  # the others are yet to come
    told = samples[0].told or (True,) * channels
    low = min(int(s.q[s.coded].min()) for s in samples)
    high = max(int(s.q[s.coded].max()) for s in samples)
    means = np.array([_median(samples, channels, c) for c in range(channels)], np.int64)
    steps = tuple((*(reference if told[c] else ()), *_pool(layout, channels, c)) for c in range(channels))
    naive = _naive(layout, steps, means, low, high)
    if quick or (channels > 1 and not (are_aligned(layout.depth, channels) and all(told))):
        naive = _naive(layout, _choose(samples, naive, total, values, quick), means, low, high)
    return _linear(samples, naive, values)


def _naive(
    layout: Layout,
    steps: tuple[tuple[Step, ...], ...],
    means: Array,
    low: int,
    high: int,
) -> Predictor:
    """Predicts each value as its first neighbour."""
    channels, width = len(steps), max(len(channel) for channel in steps)
    weights = np.zeros((_SETS * channels, width + 1), np.int32)
    weights[:, 0] = 1 << kernel.WEIGHT
    return _apart(
        Predictor(layout, steps, means, np.zeros(0, np.int16), STUMP, weights, low, high),
        weights,
    )


def _apart(predictor: Predictor, weights: Array) -> Predictor:
    """One row of weights for each weight set and channel, without classes."""
    many = len(weights)
    roots = np.arange(many, dtype=np.int16).reshape(_SETS, -1)
    leaves = Tree(
        np.full(many, -1, np.int16),
        np.zeros(many, np.int16),
        np.arange(many, dtype=np.int16),
    )
    return replace(predictor, roots=roots, classes=leaves, weights=weights)


def _median(samples: Sequence[Sample], channels: int, channel: int) -> int:
    values = [s.q.reshape(-1, channels)[:, channel][s.coded.reshape(-1, channels)[:, channel]] for s in samples]
    known = np.concatenate(values)
    return int(np.median(known[:: max(1, len(known) // 100_000)])) if len(known) else 0


def _pool(layout: Layout, channels: int, channel: int) -> list[Step]:
    if channels > 1:
        return channel_steps(layout.depth, channels, channel)
    return spatial_steps(layout.depth, far=bool(layout.far))


def _collect(samples: Sequence[Sample], predictor: Predictor, values: int) -> tuple[Array, Array, Array, Array]:
    """Regressors float64 [n, K], targets [n], groups int64 [n] = set * C + channel and looks int16 [n, F], at about
    so many random places; errors are those of the predictor."""
    width = max(len(channel) for channel in predictor.steps)
    numbers = plan(predictor, _no_activity(predictor), STUMP)

    def collect(part: tuple[Sample, Array]) -> tuple[Array, ...]:
        s, take = part
        room = int(take.sum())
        steps, target, group = np.empty((room, width)), np.empty(room), np.empty(room, np.int64)
        looks = np.empty((room, len(kernel.LOOKS)), np.int16)
        near, flags = stencil(predictor, s.q.shape), s.coded.reshape(-1)
        q = s.flat()
        error, _ = kernel.fresh(q.size, numbers)
        n = kernel.regressors(q, flags, take, near, numbers, s.fine(), steps, target, group, looks, error)
        return steps[:n], target[:n], group[:n], looks[:n]

    found = abreast(collect, chosen(samples, values, np.random.default_rng(0)))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))  # type: ignore[return-value]


def _no_activity(predictor: Predictor) -> Activity:
    channels, width = len(predictor.steps), predictor.weights.shape[1] - 1
    none = np.zeros((channels, width), np.uint8)
    return Activity(none, none, np.zeros(channels, np.int32))


def _choose(
    samples: Sequence[Sample], blank: Predictor, total: int, values: int, quick: bool
) -> tuple[tuple[Step, ...], ...]:
    """For each channel the few neighbours that pay, best first (forward selection by the sweep operator)."""
    steps, target, group, _ = _collect(samples, blank, values)
    channels, told = len(blank.steps), samples[0].told
    chosen: list[tuple[Step, ...]] = []
    for c, here in enumerate(classes.members(group % channels, channels)):
        pool, made = blank.steps[c], int(samples[0].made is not None and (not told or told[c]))
        known = steps[here][:, : len(pool)]
        known[:, 1:] += known[:, :1]  # differences from the first neighbour, back to values
        # what is made of it stays, and the others are chosen as without it
        known, wanted = _centred(known[:, made:]), _centred(target[here])
        order = forward(known, wanted, total / channels, _STEP_BITS, _QUICKLY_CHOSEN if quick else _CHOSEN)
        mine = (*pool[:made], *(pool[made + k] for k in order)) or pool[:1]
        seen = not pool[0][5] or any(step[5] for step in mine)
        chosen.append(mine if seen else (pool[0], *mine))  # a reference stays, however little it tells
    if blank.layout.depth > 1 or quick:
        return tuple(chosen)
    width = max(map(len, chosen))
    return tuple(_filled(mine, pool, width) for mine, pool in zip(chosen, blank.steps, strict=True))


def _filled(mine: tuple[Step, ...], pool: Sequence[Step], width: int) -> tuple[Step, ...]:
    """The neighbours of a table's column and, as far as others have more, columns before it in the row: a network makes
    something of those that tell nothing by a sum."""
    here = [step for step in pool if step[:4] == (0, 0, 0, 0) and step not in mine]
    return (*mine, *here[: width - len(mine)])


def _centred(part: Array) -> Array:
    """Without the mean of each column."""
    return part - part.mean(0) if len(part) else part


def _linear(samples: Sequence[Sample], naive: Predictor, values: int) -> Predictor:
    """Weights by iterated, weighted least squares, one row for each weight set and channel.

    Each squared error is divided by the local activity, which brings the fit close to least code length: a residual
    matters in proportion to its own scale.
    """
    steps, target, group, _ = _collect(samples, naive, values)
    channels, width = len(naive.steps), steps.shape[1]
    weights = np.zeros((_SETS * channels, width + 1))
    weights[:, 0] = 1.0
    members = classes.members(group, _SETS * channels)
    enough = np.array([len(mine) >= 4 * width for mine in members]).reshape(_SETS, channels)
    emphasis = classes.emphasis(steps, None)
    for _ in range(3):
        for g, mine in enumerate(members):
            if enough.flat[g]:
                weights[g] = _least_squares(steps[mine], target[mine], emphasis[mine])
        error = np.abs(target - np.einsum("nk,nk->n", steps, weights[group, :-1]) - weights[group, -1])
        emphasis = classes.emphasis(steps, error)
    usual = np.bincount(group // channels, minlength=_SETS).argmax()
    full = weights.reshape(_SETS, channels, width + 1)
    full = np.where(enough[..., None], full, full[usual])
    return _apart(
        naive,
        classes.quantize(full.reshape(_SETS * channels, -1), steps, target, group),
    )


def _least_squares(steps: Array, target: Array, emphasis: Array) -> Array:
    """Ridge regression around the prediction "as the first neighbour"; the last weight is a constant."""
    table = np.column_stack([steps, np.ones(len(steps))])
    table *= emphasis[:, None]
    gram = table.T @ table
    prior = np.zeros(len(gram))
    prior[0] = 1.0
    ridge = 1e-7 * np.trace(gram) / len(gram) + 1e-3 * float(np.square(emphasis).sum()) / len(gram)
    rest = target * emphasis - table @ prior
    weights = prior + np.linalg.lstsq(gram + ridge * np.eye(len(gram)), table.T @ rest, rcond=None)[0]
    if abs(weights[0] - 1.0) < 2.0**-9:  # a level kept exactly needs no precision for the rest of its range
        gram, table = gram[1:, 1:], table[:, 1:]
        solved = np.linalg.lstsq(gram + ridge * np.eye(len(gram)), table.T @ rest, rcond=None)[0]
        weights = np.concatenate([[1.0], solved])
    return weights


# --- activity -------------------------------------------------------------------------------------------------------


def _fit_activity(predictor: Predictor, errors: Errors) -> Activity:
    """Non-negative least squares of the error's size on the neighbours' errors and differences.

    Few channels get weights of their own; many share them and differ by their bias.
    """
    channels = len(predictor.steps)
    width = predictor.weights.shape[1] - 1
    parts, target, channel = errors
    of_error = np.zeros((channels, width), np.uint8)
    of_step = np.zeros((channels, width), np.uint8)
    bias = np.zeros(channels, np.int32)
    apart = channels <= 16
    members = classes.members(channel, channels) if apart else [np.arange(len(channel))]
    for c, mine in enumerate(members):
        few = mine[:: max(1, len(mine) // _SIZE_ROWS)]
        weights = _size_weights(parts[few].astype(np.float64), target[few], width)
        rows = c if apart else slice(None)
        of_error[rows], of_step[rows] = weights[:width], weights[width:-1]
        bias[rows] = int(min(weights[-1], 2**30))
    if not apart:
        rest = target - parts @ np.concatenate([of_error[0], of_step[0]]) / (1 << kernel.ACTIVITY)
        mean = np.bincount(channel, rest, channels) / np.maximum(np.bincount(channel, minlength=channels), 1)
        bias[:] = np.clip(mean * (1 << kernel.ACTIVITY), -(2**30), 2**30)
    return Activity(of_error, of_step, bias)


def _error_bits(errors: Errors) -> float:
    """About how many bits an error of a predictor takes."""
    return bits_of(errors[1] / (1 << FRACTION))


def _collect_errors(samples: Sequence[Sample], predictor: Predictor, values: int) -> Errors:
    """Errors of a predictor that really runs on the samples, with what their size may depend on."""
    width = predictor.weights.shape[1] - 1
    numbers = plan(predictor, _no_activity(predictor), STUMP)

    def collect(part: tuple[Sample, Array]) -> tuple[Array, ...]:
        s, take = part
        room = int(take.sum())
        parts, target, channel = np.empty((room, 2 * width), np.float32), np.empty(room), np.empty(room, np.int64)
        near, flags = stencil(predictor, s.q.shape), s.coded.reshape(-1)
        q = s.flat()
        error, _ = kernel.fresh(q.size, numbers)
        n = kernel.errors(q, flags, take, near, numbers, s.fine(), parts, target, channel, error)
        return parts[:n], target[:n], channel[:n]

    found = abreast(collect, chosen(samples, values, np.random.default_rng(1)))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))  # type: ignore[return-value]


def _size_weights(parts: Array, target: Array, width: int) -> Array:
    """Weights [2K + 1] in 1/2^7, the last the bias; iterated so that relative errors count."""
    if not len(target):
        return np.zeros(2 * width + 1)
    table = np.column_stack([parts, np.full(len(parts), float(1 << FRACTION))])
    guess = parts.mean(1) + 4.0
    weights = np.zeros(table.shape[1])
    for _ in range(3):
        scaled = table / guess[:, None]
        gram = scaled.T @ scaled
        gram += np.eye(len(gram)) * 1e-9 * np.trace(gram)
        weights = _non_negative(gram, scaled.T @ (target / guess), 100)
        guess = table @ weights + 2.0
    weights = np.rint(weights * (1 << kernel.ACTIVITY))
    weights[:-1] = np.clip(weights[:-1], 0, 255)
    weights[-1] *= 1 << FRACTION
    return weights


@numba.njit(cache=True, nogil=True)
def _non_negative(gram: Array, moment: Array, rounds: int) -> Array:
    """Minimise x'Gx/2 - m'x over x >= 0 by coordinate descent."""
    x = np.zeros(moment.size)
    for _ in range(rounds):
        for j in range(moment.size):
            if gram[j, j] > 0:
                x[j] = max(0.0, x[j] + (moment[j] - (gram[j] * x).sum()) / gram[j, j])
    return x


# --- contexts -------------------------------------------------------------------------------------------------------


def _fit_tree(
    samples: Sequence[Sample], predictor: Predictor, activity: Activity, total: int, values: int, *, quick: bool
) -> Tree:
    numbers = plan(predictor, activity, STUMP, errors=not quick)

    def collect(part: tuple[Sample, Array]) -> tuple[Array, Array]:
        s, take = part
        folded, _, described = describe(predictor, numbers, s, features=True)
        keep = take[: len(folded)]
        return described[keep], tokenized(folded[keep])

    found = abreast(collect, chosen(samples, values, np.random.default_rng(2)))
    features, tokens = map(np.concatenate, zip(*found, strict=True))
    leaves = _QUICK_TABLES if quick else _MOST_TABLES
    return grow(features, tokens, total / len(tokens), leaves) if len(tokens) else STUMP
