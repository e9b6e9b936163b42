"""The context coder: decode undoes encode for any block, and no stored model or stream can lead it astray."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from contextlib import nullcontext, suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aecompress.context import fit as fitting
from aecompress.context import kernel
from aecompress.context.coder import ContextModel, _tree
from aecompress.context.forest import RANGE
from aecompress.context.stencil import (
    MOST_CHANNELS,
    MOST_STEPS,
    Layout,
    channel_steps,
    has_far,
    layouts,
    reference_steps,
)
from aecompress.context.tree import Tree
from aecompress.entropy import record
from aecompress.entropy.tables import Tables
from aecompress.errors import CorruptError
from aecompress.spec import Array

relaxed = settings(deadline=None, max_examples=40)

SHAPES = [
    (1,),
    (50,),
    (1, 1),
    (1, 30),
    (30, 1),
    (40, 3),
    (20, 17),
    (3, 600),
    (5, 6, 7),
    (9, 1, 8, 3),
    (3, 2, 1, 4, 2, 3),
    (2, 3, 4, 5, 2),
]
VALUES = ["smooth", "noise", "table", "zero", "steps", "wild"]


def integers(shape: tuple[int, ...], values: str, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if values == "zero":
        return np.zeros(shape, np.int64)
    if values == "wild":
        return rng.integers(-(2**54), 2**54, shape)
    noise = rng.integers(-9, 10, shape)
    if values == "smooth":
        return noise.cumsum(0).cumsum(-1)
    if values == "table":
        return noise * 10 ** (np.arange(shape[-1]) % 9)
    if values == "steps":
        return np.where(rng.random(shape) < 0.05, 2**50, 0).cumsum(0) // 64
    return noise


def fit(q: Array, coded: Array, reference: Array | None = None, *, quick: bool = False) -> ContextModel:
    return fitting.fit([fitting.Sample(q, coded, reference)], q.size, quick=quick)


def check(model: ContextModel, q: Array, coded: Array, reference: Array | None = None) -> bytes:
    before = q.copy()
    data = model.encode(q, coded, reference)
    assert np.array_equal(q, before), "the coder leaves its input alone"
    decoded = model.decode(data, coded, reference)
    assert decoded.shape == q.shape
    assert decoded.dtype == np.int64
    assert np.array_equal(decoded[coded], q[coded])
    return data


# --- round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered in scalar divide")
@relaxed
@given(
    st.sampled_from(SHAPES),
    st.sampled_from(VALUES),
    st.integers(0, 99),
    st.sampled_from([1.0, 0.9, 0.1, 0.0]),
    st.booleans(),
    st.booleans(),
)
def test_decode_undoes_encode(
    shape: tuple[int, ...], values: str, seed: int, share: float, with_reference: bool, quick: bool
) -> None:
    q = integers(shape, values, seed)
    coded = np.random.default_rng(seed).random(shape) < share
    assume(coded.any() or not with_reference)
    reference = q + integers(shape, "noise", seed + 1) if with_reference else None
    model = fit(q, coded, reference, quick=quick)
    data = check(model, q, coded, reference)
    again = ContextModel.from_bytes(model.to_bytes())
    assert again.encode(q, coded, reference) == data
    assert np.array_equal(again.decode(data, coded, reference), model.decode(data, coded, reference))
    assert again.to_bytes() == model.to_bytes()


@relaxed
@given(st.sampled_from([s for s in SHAPES if len(s) > 1]), st.integers(1, 70), st.sampled_from(VALUES))
def test_blocks_of_other_row_counts_and_other_values(shape: tuple[int, ...], rows: int, values: str) -> None:
    q = integers((30, *shape[1:]), "smooth", 0)
    model = fit(q, np.ones(q.shape, bool))
    other = integers((rows, *shape[1:]), values, 1)
    check(model, other, np.ones(other.shape, bool))
    check(model, other, np.zeros(other.shape, bool))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_blocks_of_few_rows(rows: int) -> None:
    model = fit(integers((30, 4), "smooth", 0), np.ones((30, 4), bool))
    check(model, integers((rows, 4), "smooth", 1), np.ones((rows, 4), bool))


def test_a_set_without_a_value_to_code() -> None:
    model = fitting.fit([], 0)
    q = integers((7, 3), "noise", 0)
    check(model, q, np.ones(q.shape, bool))
    check(fit(q, np.zeros(q.shape, bool)), q, np.ones(q.shape, bool))


def test_a_reference_to_a_set_without_a_value_to_code() -> None:
    q = integers((7, 3), "noise", 0)
    model = fit(q, np.zeros(q.shape, bool), q)
    check(model, q, np.ones(q.shape, bool), q)


@pytest.mark.parametrize("channels", [2, 16, 17, 64, 65, MOST_CHANNELS, MOST_CHANNELS + 1])
def test_tables_of_any_number_of_columns(channels: int) -> None:
    q = integers((60, channels), "table", channels)
    check(fit(q, np.ones(q.shape, bool)), q, np.ones(q.shape, bool))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layout_codes_the_block(shape: tuple[int, ...]) -> None:
    q = integers((max(shape[0], 9), *shape[1:]), "smooth", 2)
    coded = np.ones(q.shape, bool)
    for layout in layouts(q.shape):
        check(fitting._fit_layout([fitting.Sample(q, coded)], layout, q.size)[0], q, coded)


def test_fits_are_deterministic() -> None:
    q = integers((200, 9), "smooth", 3)
    coded = np.random.default_rng(0).random(q.shape) < 0.9
    assert fit(q, coded).to_bytes() == fit(q, coded).to_bytes()


def test_learned_contexts_beat_no_contexts() -> None:
    """Rows of a slow walk: a few bits a value, not the sixteen of its range."""
    q = np.random.default_rng(5).integers(-3, 4, (400, 100)).cumsum(1)
    coded = np.ones(q.shape, bool)
    data = check(fit(q, coded), q, coded)
    assert 8 * len(data) / q.size < np.log2(7) * 1.02


def test_a_reference_that_knows_the_values_makes_them_cheap() -> None:
    q = integers((100, 50), "wild", 1) >> 30
    coded = np.ones(q.shape, bool)
    noise = np.random.default_rng(1).integers(-1, 2, q.shape)
    data = check(fit(q, coded, q + noise), q, coded, q + noise)
    assert 8 * len(data) / q.size < 1.8


def test_masked_values_cost_next_to_nothing() -> None:
    q = integers((100, 50), "noise", 1)
    coded = np.zeros(q.shape, bool)
    coded[::10] = True
    model = fit(q, np.ones(q.shape, bool))
    assert len(model.encode(q, coded)) < 0.15 * len(model.encode(q, ~np.zeros(q.shape, bool)))


# --- damage ---------------------------------------------------------------------------------------------------------


def isolated(code: str) -> None:
    """Run ``code`` in a process of its own with 2 GB and 60 s, which must end it by itself."""
    setup = """
        import resource, faulthandler, random
        from contextlib import suppress
        import numpy as np
        from aecompress.context import fit as fitting
        from aecompress.context.coder import ContextModel, _tree
        from aecompress.entropy import record
        from aecompress.errors import CorruptError
        faulthandler.enable()
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        rng = np.random.default_rng(0)
        q = rng.integers(-9, 10, (64, 5)).cumsum(0)
        coded = np.ones(q.shape, bool)
        model = fitting.fit([fitting.Sample(q, coded)], q.size)
        payload = model.encode(q, coded)
        parts = record.unpack(model.to_bytes())
    """
    script = textwrap.dedent(setup) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_garbage_streams_never_crash() -> None:
    isolated("""
        for trial in range(2000):
            words = rng.integers(0, 256, 4 * int(rng.integers(0, 40)), dtype=np.uint8)
            data = words.tobytes() if trial % 2 else (len(words) // 8).to_bytes(4, "little") + words.tobytes()
            with suppress(CorruptError):
                assert model.decode(data, coded).shape == q.shape
        for bit in range(8 * len(payload)):
            changed = bytearray(payload)
            changed[bit // 8] ^= 1 << bit % 8
            with suppress(CorruptError):
                model.decode(bytes(changed), coded)
        for end in range(len(payload)):
            with suppress(CorruptError):
                model.decode(payload[:end], coded)
    """)


def test_hostile_models_never_crash() -> None:
    """Numbers of a stored model changed at random: refused, or they decode to something."""
    isolated("""
        odd = [-2**63, 2**63 - 1, -1, 0, 1, 2, 16, 255, 2**15, 2**31, -2**31, 2**56, 2**62]
        random.seed(1)
        taken = 0
        for trial in range(1500):
            changed = [part.copy() for part in parts]
            for _ in range(random.choice([1, 1, 2, 5])):
                part = random.choice(changed)
                place = tuple(random.randrange(n) for n in part.shape)
                part[place] = random.choice([random.choice(odd), int(part[place]) // 2, int(part[place]) ^ 1])
            with suppress(CorruptError):
                hostile = ContextModel.from_bytes(record.pack(changed))
                taken += 1
                hostile.decode(payload, coded)
        assert taken > 100
    """)


def test_arrays_of_other_shapes_are_refused() -> None:
    q = integers((64, 5), "smooth", 0)
    parts = record.unpack(fit(q, np.ones(q.shape, bool)).to_bytes())
    for index, part in enumerate(parts):
        others = [np.zeros((2, *part.shape), int), part[..., None], part.reshape(-1)[:0]]
        for other in others:
            with suppress(CorruptError):
                ContextModel.from_bytes(record.pack([*parts[:index], other, *parts[index + 1 :]]))
    for many in (0, 1, len(parts) - 1):
        with pytest.raises(CorruptError):
            ContextModel.from_bytes(record.pack(parts[:many]))
    with pytest.raises(CorruptError):
        ContextModel.from_bytes(record.pack([*parts, 0]))


@pytest.mark.parametrize("index", range(17))
def test_an_array_of_no_axes_is_refused(index: int) -> None:
    q = integers((64, 5), "smooth", 0)
    parts = record.unpack(fit(q, np.ones(q.shape, bool)).to_bytes())
    with pytest.raises(CorruptError):
        ContextModel.from_bytes(record.pack([*parts[:index], 3, *parts[index + 1 :]]))


def test_a_node_of_two_parents_is_refused() -> None:
    """Each would lead to copies of what is below it: a small file could ask for much memory."""
    feature, threshold = np.array([0, 0, 0, -1, -1, -1, -1]), np.zeros(7, int)
    _tree([feature, threshold, np.array([1, 3, 5, 0, 1, 2, 3])], 1)
    for shared in ([1, 3, 3, 0, 1, 2, 3], [1, 3, 4, 0, 1, 2, 3]):
        with pytest.raises(CorruptError):
            _tree([feature, threshold, np.array(shared)], 1)


def test_a_child_beyond_the_tree_is_refused() -> None:
    q = integers((64, 5), "smooth", 0)
    parts = record.unpack(fit(q, np.ones(q.shape, bool)).to_bytes())
    for child, sound in ((1, True), (2, False), (2**62, False), (2**63 - 1, False), (0, False), (-1, False)):
        tree = [np.array([0, -1, -1]), np.zeros(3, int), np.array([child, 0, 1])]
        data = record.pack([*parts[:13], *tree, np.zeros((3, 2), int)])
        with nullcontext() if sound else pytest.raises(CorruptError):
            ContextModel.from_bytes(data)


def test_more_tables_than_a_model_may_have_are_refused() -> None:
    q = integers((64, 5), "smooth", 0)
    parts = record.unpack(fit(q, np.ones(q.shape, bool)).to_bytes())
    for many, sound in ((2**14 - 1, True), (2**14, False)):
        inner, leaves = np.arange(many), many + 1
        tree = [
            np.concatenate([np.tile([0, -1], many), [-1]]),
            np.zeros(2 * many + 1, int),
            np.append(np.stack([2 * inner + 1, inner], 1).reshape(-1), many),
        ]
        data = record.pack([*parts[:13], *tree, np.zeros((1, leaves), int)])
        with nullcontext() if sound else pytest.raises(CorruptError):
            ContextModel.from_bytes(data)


def test_a_reference_that_does_not_fit_is_refused() -> None:
    q = integers((64, 5), "smooth", 0)
    coded = np.ones(q.shape, bool)
    alone, joint = fit(q, coded), fit(q, coded, q)
    for model, reference in ((alone, q[:9]), (joint, None), (joint, q[:9]), (joint, q.reshape(5, 64))):
        with pytest.raises(CorruptError):
            model.encode(q, coded, reference)
        with pytest.raises(CorruptError):
            model.decode(b"\0" * 40, coded, reference)


@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) > 1])
def test_a_reference_that_tells_nothing_is_left_out(shape: tuple[int, ...]) -> None:
    q = integers(shape, "smooth", 0)
    check(fit(q, np.ones(shape, bool), np.zeros_like(q)), q, np.ones(shape, bool), np.zeros_like(q))


def test_a_model_that_needs_a_reference_refuses_to_go_without() -> None:
    isolated("""
        joint = fitting.fit([fitting.Sample(q, coded, q + 1)], q.size)
        many = np.ones((200_000, 5), bool)
        for refused in (lambda: joint.decode(payload, many), lambda: joint.encode(np.zeros(many.shape, int), many)):
            try:
                refused()
            except (CorruptError, ValueError):
                continue
            raise SystemExit("it read what is not there")
    """)


def test_steps_that_reach_too_far_are_refused() -> None:
    isolated("""
        steps = [(-16, -16, -16, -16, 0, 0), (0, 0, -16, 16, 0, 0), (0, -16, 16, 16, 0, 0), (-16, 16, 16, 16, 0, 0)]
        none, one = np.zeros((1, 4), int), np.zeros(1, int)
        classes = [np.array([-1]), one, one]
        head = [np.array([4, 0, -99, 99, 1]), np.array([4]), np.array(steps).T, one, np.zeros((8, 1), int), *classes]
        tail = [np.zeros((4, 1), int), one, none, none, one, np.array([-1]), one, one, np.zeros((1, 1), int)]
        far = ContextModel.from_bytes(record.pack([*head, *tail]))
        try:
            far.decode(payload, np.ones((20, 20, 20, 20), bool))
        except CorruptError:
            raise SystemExit(0)
        raise SystemExit("it made tables for steps that no fit would take")
    """)


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-2, 2)] * 5, st.integers(-1, 2)), min_size=3, max_size=3),
    st.sampled_from([0, 1 << 40, -(1 << 62)]),
    st.integers(0, 5),
)
@example([(0, 0, 0, -1, 0, 0), (0, 0, 0, 0, -1, 0), (0, 0, 1, 0, 0, 1)], 0, 0)
@example([(0, 0, 0, -1, 0, 0), (0, 0, 0, 0, -1, 0), (-1, 0, 0, 2, 1, 0)], 0, 0)
def test_steps_are_causal_and_within_the_channels(steps: list[tuple[int, ...]], wild: int, where: int) -> None:
    numbers = np.array(steps).T  # one of the first channel, two of the second
    numbers[where, 1] += wild
    sound = all(
        (tuple(step[:5]) < (0,) * 5 or step[5] == 1) and step[5] in (0, 1) and 0 <= channel + step[4] < 2
        for channel, step in zip((0, 1, 1), numbers.T.tolist(), strict=True)
    ) and not (wild and where < 5)
    zeros, one = np.zeros((1, 2), int), np.zeros(1, int)
    head = [np.array([1, 1, -99, 99, 1]), np.array([1, 2]), numbers, np.zeros(2, int), np.zeros((8, 2), int)]
    tail = [np.array([-1]), one, one, np.zeros((2, 1), int), one, zeros, zeros, np.zeros(2, int), np.array([-1])]
    stored = record.pack([*head, *tail, one, one, np.zeros((1, 1), int)])
    with nullcontext() if sound else pytest.raises(CorruptError):
        found = ContextModel.from_bytes(stored).predictor.steps
        assert found == ((tuple(steps[0]),), (tuple(steps[1]), tuple(steps[2])))


def noise_below(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).integers(-3, 4, shape)


FAR = {
    "a moment 20 before": noise_below((300, 20), 0).cumsum(0).reshape(-1),
    "what is usual in a column": 40 * noise_below((1, MOST_CHANNELS + 88), 1)
    + noise_below((60, MOST_CHANNELS + 88), 2),
    "three planes before": noise_below((14, 3, 30, 40), 3).cumsum(0).reshape(42, 30, 40),
}


@pytest.mark.parametrize("what", FAR)
def test_stencils_reach_far_where_that_tells_more(what: str) -> None:
    sample = fitting.Sample(FAR[what], np.ones(FAR[what].shape, bool))
    layouts = Layout(sample.q.ndim, False, False), Layout(sample.q.ndim, False)
    near, far = (fitting.fit([sample], sample.q.size, layout) for layout in layouts)
    assert fitting.bits(far, [sample]) < 0.97 * fitting.bits(near, [sample])
    assert far.predictor.layout.far
    check(far, sample.q, sample.coded)


@pytest.mark.parametrize("shape", [(2000, 47), (35, 900), (7, 50, 50), (8, 7, 30, 30)])
def test_stencils_stay_near_where_there_is_nothing_to_see(shape: tuple[int, ...]) -> None:
    layout = Layout({47: 1, 900: 2}.get(shape[-1], 3), False)
    sample = fitting.Sample(noise_below(shape, 4).cumsum(-1), np.ones(shape, bool))
    assert not has_far(layout, shape)
    assert fitting.fit([sample], sample.q.size, layout).predictor.layout == Layout(layout.depth, False, False)


def test_lines_above_are_found_in_tables_of_long_rows() -> None:
    usual = 40 * noise_below((1, 12_000), 7)
    blocks = [usual + noise_below((60, 12_000), seed) for seed in (8, 9, 10)]
    samples = [fitting.Sample(q, np.ones(q.shape, bool)) for q in blocks]
    assert fitting.fit(samples, 3 * blocks[0].size, Layout(2, False)).predictor.layout.far


def test_lines_above_are_left_out_where_they_tell_nothing() -> None:
    sample = fitting.Sample(noise_below((200, 600), 6).cumsum(0).cumsum(1), np.ones((200, 600), bool))
    assert fitting.fit([sample], sample.q.size, Layout(2, False)).reach <= 3


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_steps_of_few_channels_are_aligned(depth: int, channels: int) -> None:
    """Only of the cell itself, where what comes later is not known, do they lie apart."""
    found = [channel_steps(depth, channels, c) for c in range(channels)]
    assert len({len(steps) for steps in found}) == 1
    assert len(found[0]) + len(reference_steps(depth)) <= MOST_STEPS
    for slot in zip(*found, strict=True):
        assert all(tuple(step[:5]) < (0,) * 5 and 0 <= c + step[4] < channels for c, step in enumerate(slot))
        assert len({step[4] % channels for step in slot}) == 1
        cells = {step[:4] for step in slot}
        assert len(cells) == 1 or cells == {(0, 0, 0, 0), (0, 0, 0, -1)}
    assert len(set(found[-1])) == len(found[-1])  # the last channel knows all others


def test_colours_look_at_the_same_neighbours_by_number() -> None:
    rng = np.random.default_rng(12)
    grey = rng.integers(-3, 4, (60, 80)).cumsum(0).cumsum(1) // 4
    q = grey[..., None] + rng.integers(-1, 2, (60, 80, 3))
    model = fit(q, np.ones(q.shape, bool))
    assert model.predictor.layout == Layout(2, True, False)
    assert model.predictor.steps == tuple(tuple(channel_steps(2, 3, c)) for c in range(3))
    check(model, q, np.ones(q.shape, bool))


@pytest.mark.parametrize(("shape", "deepest"), [((1,), 1), ((1, 50), 1), ((9, 50), 2), ((1, 8, 9, 3), 3), ((1, 1), 1)])
def test_no_layout_looks_for_rows_before_a_single_one(shape: tuple[int, ...], deepest: int) -> None:
    found = layouts(shape)
    assert max(layout.depth for layout in found) == deepest
    assert max((layout.depth for layout in found if layout.channels), default=0) == max(deepest - 1, 0)


def test_layouts_are_compared_on_the_middle_where_margins_are_empty() -> None:
    rng = np.random.default_rng(13)
    picture = np.zeros((900, 900, 3), np.int64)
    picture[250:650, 250:650] = rng.integers(-9, 10, (400, 400, 1)).cumsum(0) + rng.integers(-1, 2, (400, 400, 3))
    sample = fitting.Sample(picture, np.ones(picture.shape, bool))
    assert np.count_nonzero(fitting.largest([sample]).q) > 0.2 * fitting.TRIAL_VALUES


def test_columns_that_are_alike_may_share_a_stencil_of_their_row_alone() -> None:
    """Each value is like the one five before: what a channel finds out for itself takes bytes for each of 40."""
    q = noise_below((400, 8, 5), 11).cumsum(1).reshape(400, 40)
    part = fitting.Sample(q, np.ones(q.shape, bool))
    _, found = fitting._cheapest(part, q.size, Layout(1, True, False), fixed=False)
    assert found == Layout(1, False, False)


def test_a_layout_that_only_classes_make_the_best_is_found() -> None:
    """A third of each plane is as in the plane before, the rest is its own: one set of weights cannot tell."""
    rng = np.random.default_rng(5)
    scene, still = rng.integers(-3, 4, (60, 70)).cumsum(1), np.arange(70) < 22
    own = rng.integers(-5, 6, (20, 60, 70)).cumsum(1).cumsum(2) // 9
    q = np.where(still, scene + rng.integers(-1, 2, own.shape), own)
    sample = fitting.Sample(q, np.ones(q.shape, bool))
    assert fitting.fit([sample], q.size, with_classes=False).predictor.layout.depth == 2
    assert fitting.fit([sample], q.size).predictor.layout.depth == 3


@pytest.mark.parametrize("shape", [(900, 7), (30, 40, 50), (20_000,)])
def test_quick_coders_look_at_little_and_take_little_more(shape: tuple[int, ...]) -> None:
    q = integers(shape, "noise", 3).cumsum(-1) + integers(shape, "noise", 4)
    sample = fitting.Sample(q, np.ones(shape, bool))
    quick, thorough = (fitting.fit([sample], q.size, quick=quick) for quick in (True, False))
    assert max(map(len, quick.predictor.steps)) <= 10
    assert quick.reach <= 12
    assert not (quick.predictor.classes.feature >= 0).any()
    asked = {kernel.FEATURES[feature] for feature in quick.tree.feature if feature >= 0}
    assert not asked & {"error 1", "error 2", "error 3", "error 4"}
    assert quick.tree.tables <= 64
    size = len(check(quick, q, sample.coded))
    assert size < 1.2 * len(check(thorough, q, sample.coded))


def test_contexts_that_ask_about_errors_code_the_same() -> None:
    """Loops for them are compiled apart; a tree whose root asks about an error, which none passes, goes there."""
    q = integers((40, 50), "smooth", 5)
    coded = np.ones(q.shape, bool)
    quick = fit(q, coded, quick=True)
    tree, last = quick.tree, quick.tree.tables
    child = np.where(tree.feature < 0, tree.child, tree.child + 2)
    root = [[kernel.FEATURES.index("error 2"), RANGE, 1], [tree.feature[0], tree.threshold[0], child[0]], [-1, 0, last]]
    others = np.stack([tree.feature, tree.threshold, child], 1)[1:]
    asking = Tree(*np.concatenate([root, others]).astype(np.int16).T)
    tables = Tables.from_levels(np.concatenate([quick.tables.levels, quick.tables.levels[:1]]))
    model = replace(quick, tree=asking, tables=tables)
    assert check(model, q, coded) == check(quick, q, coded)


def test_a_block_of_other_channels_is_refused() -> None:
    isolated("""
        table = rng.integers(-9, 10, (4000, 3)).cumsum(0)
        table[:, 1:] = table[:, :1] * 3 + rng.integers(0, 2, (4000, 2))
        from aecompress.context.stencil import Layout
        wide, _ = fitting._fit_layout([fitting.Sample(table, np.ones(table.shape, bool))], Layout(1, True), table.size)
        try:
            wide.decode(payload, np.ones((4000, 500), bool))
        except (CorruptError, ValueError):
            raise SystemExit(0)
        raise SystemExit("it decoded with channels it does not have")
    """)
