"""Whole archives: whatever goes in comes out within its bound, special values bit for bit, whatever the array is."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.archive import Archive
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.errors import CorruptError, InputError, ModelError, VerificationError
from aecompress.spec import Array
from aecompress.trainer import sampling

KINDS = ["none"]

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
FLOATS = ["f2", "f4", "f8"]
DTYPES = ["?", *INTEGERS, *FLOATS]
SHARES = [0.0, 1e-9, 1e-3, 0.05, 0.5, 3.0]

relaxed = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


# --- arrays ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """An array to be made: drawn by hypothesis, filled by ``make``, so that a failing one prints shortly."""

    dtype: str
    shape: tuple[int, ...]
    seed: int
    values: str
    special: str
    fortran: bool


shapes = st.lists(st.sampled_from([1, 2, 3, 5, 9, 40]), min_size=1, max_size=6).filter(lambda s: math.prod(s) <= 3000)
VALUES = ["noise", "smooth", "table", "constant", "blank", "few", "ends", "patterns", "huge", "tiny"]
SPECIALS = ["none", "some", "many", "row", "all", "fill", "fills"]

plans = st.builds(
    Plan,
    st.sampled_from(DTYPES).flatmap(lambda code: st.sampled_from([f"<{code}", f">{code}"])),
    st.one_of(shapes.map(tuple), st.sampled_from([(0,), (0, 3), (2, 0), (3, 0, 2), (1,), (1, 1), (1, 7)])),
    st.integers(0, 2**16),
    st.sampled_from(VALUES),
    st.sampled_from(SPECIALS),
    st.booleans(),
)


def make(plan: Plan) -> Array:
    rng = np.random.default_rng(plan.seed)
    dtype = np.dtype(plan.dtype)
    values = numbers(plan, dtype, rng)
    if dtype.kind == "f" and values.size:
        put_specials(values, plan.special, rng)
    return np.asarray(values, dtype, order="F" if plan.fortran else "C")


def numbers(plan: Plan, dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """The ordinary values, in the machine's byte order."""
    native, size = dtype.newbyteorder("="), math.prod(plan.shape)
    if plan.values == "patterns":
        bits = rng.integers(0, 256, size * dtype.itemsize, dtype=np.uint8)
        raw = (bits & 1).view(bool) if dtype.kind == "b" else bits.view(native)
        return raw.reshape(plan.shape)
    if plan.values == "ends":
        info = np.finfo(native) if dtype.kind == "f" else None if dtype.kind == "b" else np.iinfo(native)
        ends = [False, True] if info is None else [info.min, info.max, 0]
        return np.array(ends, native)[rng.integers(0, len(ends), plan.shape)]
    if plan.values == "few":
        return rng.integers(0, 3, plan.shape).astype(native)
    if plan.values in ("constant", "blank"):
        return np.full(plan.shape, 77 if plan.values == "constant" else 0).astype(native)
    exact = rng.normal(size=plan.shape)
    if plan.values == "smooth":
        exact = np.sin(np.arange(size) / 17.0).reshape(plan.shape) + 0.01 * exact
    if plan.values == "table":
        exact = exact * 10.0 ** (np.arange(plan.shape[-1]) % 7)
    return scaled(exact, plan.values, native)


def scaled(exact: Array, values: str, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "b":
        return exact > 0
    if dtype.kind == "f":
        scale = {"huge": 0.02 * float(np.finfo(dtype).max), "tiny": 100 * float(np.finfo(dtype).tiny)}.get(values, 3.0)
        with np.errstate(over="ignore"):
            return (exact * scale).astype(dtype)
    info = np.iinfo(dtype)
    scale = {"huge": 0.3 * float(info.max), "tiny": 1.0}.get(values, 20.0)
    top = np.nextafter(float(info.max), 0.0) if info.bits == 64 else float(info.max)
    return np.clip(np.rint(exact * scale), float(info.min), top).astype(dtype)


def special_values(dtype: np.dtype[Any]) -> Array:
    """NaN with several payloads and both signs, infinities, -0.0, denormals."""
    info, unsigned = np.finfo(dtype), np.dtype(f"u{dtype.itemsize}")
    quiet = int(np.array(np.nan, dtype).view(unsigned))
    top = 1 << (8 * dtype.itemsize - 1)
    payloads = np.array([quiet, quiet | 5, quiet | top, (quiet | 9) ^ (1 << (info.nmant - 1))], unsigned).view(dtype)
    others = [np.inf, -np.inf, -0.0, info.smallest_subnormal, -info.smallest_subnormal, info.tiny / 2]
    return np.concatenate([payloads, np.array(others, dtype)])


def put_specials(values: Array, how: str, rng: np.random.Generator) -> None:
    """Write special values over some of ``values``."""
    specials = special_values(values.dtype)
    if how == "row":
        values[rng.integers(len(values))] = rng.choice(specials)
    elif how in ("fill", "fills"):
        fills = [np.finfo(values.dtype).max if values.dtype == np.float16 else 1e20, -1e30]
        share = 0.01 if how == "fill" else 0.5
        with np.errstate(over="ignore"):
            values[rng.random(values.shape) < share] = np.array(fills[rng.integers(2)]).astype(values.dtype)
    elif how != "none":
        places = rng.random(values.shape) < {"some": 0.02, "many": 0.6, "all": 2.0}[how]
        values[places] = rng.choice(specials, int(places.sum()))


# --- what is promised -----------------------------------------------------------------------------------------------


def bits(values: Array) -> Array:
    """The patterns of values, in the machine's byte order."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("=")).view(f"u{values.dtype.itemsize}")


def check_bound(original: Array, decoded: Array, bound: Array) -> None:
    """Each value within ``bound`` in float64, in the arithmetic of the dtype and in whole numbers; or the same bits."""
    same = bits(original) == bits(decoded)
    x, y = (np.ascontiguousarray(a, a.dtype.newbyteorder("=")) for a in (original, decoded))
    if x.dtype.kind in "iub":
        limit = np.broadcast_to(bound, x.shape).reshape(-1).tolist()
        pairs = zip(x.reshape(-1).tolist(), y.reshape(-1).tolist(), limit, strict=True)
        assert all(abs(int(a) - int(b)) <= most for a, b, most in pairs)
        return
    with np.errstate(over="ignore", invalid="ignore"):
        held = np.abs(x.astype(np.float64) - y.astype(np.float64)) <= bound
        held &= np.abs(x - y).astype(np.float64) <= bound
    assert (held | same).all()
    special = ~np.isfinite(x) | ((x == 0) & np.signbit(x)) | ((x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny))
    assert same[special].all(), "a special value changed"


def span(values: Array) -> float:
    """max - min over the finite values, in float64."""
    finite = values[np.isfinite(values)].astype(np.float64) if values.dtype.kind == "f" else values.reshape(-1)
    if not finite.size:
        return 0.0
    with np.errstate(over="ignore"):
        return float(np.float64(finite.max()) - np.float64(finite.min()))


def promised(values: Array, target: Target) -> Array:
    """The bound of every value, broadcast to its place."""
    if target.kind == "lossless" or values.dtype.kind == "b":
        return np.array(0.0)
    assert target.value is not None
    if target.kind == "max-error":
        return np.array(target.value)
    if target.per is None:
        return np.array(target.value * span(values))
    lines = np.moveaxis(values, target.per, 0)
    bounds = np.array([target.value * span(line) for line in lines])
    return bounds.reshape(-1, *[1] * (values.ndim - 1 - target.per % values.ndim))


@contextmanager
def packed(values: Any, target: Target | None, kind: str, **settings: Any) -> Iterator[tuple[Archive, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "archive")
        report = aecompress.pack(values, path, model=kind, target=target, fit_seconds=1, **settings)
        yield Archive(path), report


def check(values: Array, target: Target, kind: str) -> None:
    with packed(values, target, kind) as (archive, report):
        assert archive.spec.dtype == values.dtype
        assert archive.shape == values.shape
        decoded = archive[:]
        dest = archive.path.parent / "back.npy"
        aecompress.unpack(archive, dest)
        back = np.load(dest)
        assert back.dtype == values.dtype
        assert back.shape == values.shape
        assert np.array_equal(bits(back), bits(decoded)), "unpack and archive[:] differ"
        check_bound(values, decoded, promised(values, target))
        assert report.bound_kept is True
        assert report.packed_bytes == sum(f.stat().st_size for f in archive.path.rglob("*") if f.is_file())


# --- tests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(plans)
def test_lossless_gives_the_same_bytes(kind: str, plan: Plan) -> None:
    values = make(plan)
    with packed(values, Target("lossless"), kind) as (archive, _):
        assert archive[:].tobytes() == np.ascontiguousarray(values, values.dtype.newbyteorder("=")).tobytes()
        dest = archive.path.parent / "back.npy"
        aecompress.unpack(archive, dest)
        back = np.load(dest)
        assert (back.dtype, back.tobytes()) == (values.dtype, values.tobytes())


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(plans, st.one_of(st.sampled_from(SHARES), st.floats(1e-12, 1e3)))
def test_relative_bounds_hold(kind: str, plan: Plan, share: float) -> None:
    check(make(plan), Target("rel-error", share), kind)


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(plans, st.sampled_from(SHARES), st.integers(0, 5))
def test_relative_bounds_hold_along_every_axis(kind: str, plan: Plan, share: float, axis: int) -> None:
    check(make(plan), Target("rel-error", share, per=axis % len(plan.shape)), kind)


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(
    plans,
    st.one_of(
        st.sampled_from([0.0, 5e-324, 1e-300, 1e-30, 1e-3, 0.5, 1.0, 2.0, 3.7, 1e5, 1e20, 1e300, 1.7e308]),
        st.floats(0, 1e9),
    ),
)
def test_absolute_bounds_hold(kind: str, plan: Plan, bound: float) -> None:
    check(make(plan), Target("max-error", bound), kind)


@pytest.mark.parametrize("dtype", [order + code for code in DTYPES for order in "<>"])
@pytest.mark.parametrize("fortran", [False, True])
def test_every_dtype_order_and_layout(dtype: str, fortran: bool) -> None:
    values = make(Plan(dtype, (6, 5, 4), 1, "smooth", "some", fortran))
    check(values, Target("rel-error", 1e-3), "none")
    check(values, Target("lossless"), "none")


WILD = np.array([[1.7e308, -1.7e308, 0.0]] * 4)
HALVES = np.array([[65504, -65504, 0]] * 4, np.float16)
BYTES = np.arange(45, dtype=np.uint8).reshape(5, 9)
WIDE = np.linspace(0, 1.8e19, 45).astype(np.uint64).reshape(5, 9)


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (WILD, Target("rel-error", 1e-3)),
        (WILD, Target("rel-error", 1e-3, per=0)),
        (WILD, Target("max-error", 1e308)),
        (HALVES, Target("max-error", 1e5)),
        (HALVES, Target("rel-error", 1e300)),
        (HALVES, Target("rel-error", 1.0, per=0)),
        (np.array([[7.0, 8.0]], np.float16), Target("max-error", 1e-3)),
        (BYTES, Target("rel-error", 1e18)),
        (BYTES, Target("rel-error", 1e18, per=0)),
        (BYTES, Target("rel-error", 1e308)),
        (BYTES, Target("rel-error", 1e308, per=0)),
        (BYTES, Target("rel-error", 1e308, per=1)),
        (WIDE, Target("rel-error", 0.6)),
        (WIDE, Target("rel-error", 0.6, per=0)),
        (WIDE, Target("max-error", 1e19)),
        (np.full((4, 3), 2**64 - 1, np.uint64), Target("lossless")),
        (np.full((4, 3), 2**63 - 1, np.int64), Target("max-error", 3)),
        (np.full((4, 3), -(2**63), np.int64), Target("max-error", 3)),
        (np.zeros((3, 0), np.float32), Target("rel-error", 1e-3, per=1)),
        (np.zeros((3, 0, 2), np.uint8), Target("rel-error", 1e-3, per=1)),
        (np.zeros((1, 4), np.float32), Target("max-error", 0.1)),
        (np.ones((1,), bool), Target("lossless")),
        (np.full((5, 4), 3e38, np.float32), Target("max-error", 1e38)),
    ],
    ids=lambda value: value.describe() if isinstance(value, Target) else str(value.dtype),
)
def test_ends_of_what_can_be_asked(values: Array, target: Target) -> None:
    check(values, target, "none")


LOW_RANK = (np.arange(300)[:, None] % 7) * np.linspace(-3, 3, 60, dtype=np.float32)


@pytest.mark.parametrize("kind", ["auto", "pca"])
@pytest.mark.parametrize(
    ("values", "target"),
    [
        (np.where(np.arange(300 * 60).reshape(300, 60) == 77, np.float32(1e20), LOW_RANK), Target("max-error", 0.01)),
        (LOW_RANK.astype(np.float64) * 1e300, Target("rel-error", 1e-3)),
        (np.random.default_rng(0).integers(0, 2**64 - 1, (300, 20), np.uint64), Target("max-error", 3)),
    ],
    ids=["one fill", "huge", "u8"],
)
def test_wild_values_do_not_stop_a_fit(kind: str, values: Array, target: Target) -> None:
    check(values, target, kind)


@pytest.mark.parametrize("shape", [(0,), (1,), (0, 4), (1, 4), (2, 0), (3, 0, 2), (2, 1, 3, 1, 2, 2), (1,) * 6])
@pytest.mark.parametrize("dtype", ["?", "u1", "f4"])
def test_odd_shapes(shape: tuple[int, ...], dtype: str) -> None:
    values = make(Plan(dtype, shape, 3, "noise", "none", False))
    for target in (None, Target("max-error", 0.5), Target("rel-error", 0.01, per=0)):
        with packed(values, target, "none") as (archive, _):
            assert archive[:].shape == shape


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("special", ["some", "many", "row", "all"])
def test_special_values_do_not_spoil_their_neighbours(dtype: str, special: str) -> None:
    """The error of ordinary values beside special ones stays below the bound that the ordinary values alone give."""
    plan = Plan(dtype, (40, 30), 5, "smooth", "none", False)
    clean = make(plan)
    values = clean.copy()
    place = {"some": clean > 2.9, "many": clean > 0, "row": np.arange(40)[:, None] < 5, "all": clean > -9}[special]
    values[np.broadcast_to(place, clean.shape)] = special_values(np.dtype(dtype))[0]
    check(values, Target("rel-error", 1e-2), "none")


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_special_value_comes_back_bit_for_bit(dtype: str) -> None:
    specials = special_values(np.dtype(dtype))
    values = np.tile(np.linspace(-1, 1, 60), (specials.size, 1)).astype(dtype)
    values[np.arange(specials.size), np.arange(specials.size)] = specials
    bounds = [Target("max-error", bound) for bound in (0, 0.1, 1e300)]
    for target in (Target("lossless"), *bounds, *(Target("rel-error", 1e-3, per=per) for per in (None, 0))):
        with packed(values, target, "none") as (archive, _):
            assert (bits(archive[:])[np.arange(specials.size), np.arange(specials.size)] == bits(specials)).all()


def test_a_land_mask_of_fill_values_costs_little_and_sets_no_range() -> None:
    rng = np.random.default_rng(4)
    values = (rng.normal(size=(64, 32, 32)).cumsum(2) + 280).astype(np.float32)
    land = np.zeros((32, 32), bool)
    land[5:20, 3:17] = True
    with packed(values, Target("max-error", 0.1), "none") as (_, without):
        plain = without.packed_bytes
    values[:, land] = 1e20
    for target in (Target("max-error", 0.1), Target("rel-error", 1e-3)):
        with packed(values, target, "none") as (archive, report):
            decoded = archive[:]
            assert (decoded[:, land] == np.float32(1e20)).all()
            assert np.abs(decoded - values)[:, ~land].max() <= 0.1
            assert report.packed_bytes < 1.1 * plain or target.kind == "rel-error"


# --- reading parts --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks() -> Iterator[tuple[Archive, Array]]:
    """An archive of many small blocks, and its rows."""
    rng = np.random.default_rng(8)
    values = rng.normal(size=(205, 4)).cumsum(0).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK_VALUES", 40)
        with packed(values, Target("max-error", 0.01), "none") as (archive, report):
            assert sum(report.methods.values()) == 21
            yield archive, archive[:]


numbers_or_none = st.one_of(st.none(), st.integers(-250, 250))


@settings(deadline=None, max_examples=100)
@given(numbers_or_none, numbers_or_none, st.sampled_from([None, 1, 2, 7, 300, -1, -3]))
def test_any_slice_equals_the_slice_of_the_whole(
    blocks: tuple[Archive, Array], start: int | None, stop: int | None, step: int | None
) -> None:
    archive, full = blocks
    part = archive[start:stop:step]
    assert part.dtype == full.dtype
    assert np.array_equal(part, full[start:stop:step])


@pytest.mark.parametrize("row", [0, 1, 9, 10, 204, -1, -205])
def test_one_row(blocks: tuple[Archive, Array], row: int) -> None:
    archive, full = blocks
    assert archive[row].shape == (4,)
    assert np.array_equal(archive[row], full[row])


@pytest.mark.parametrize("row", [205, -206, 10**9])
def test_a_row_that_is_not_there(blocks: tuple[Archive, Array], row: int) -> None:
    with pytest.raises(IndexError):
        blocks[0][row]


@pytest.mark.parametrize(
    ("start", "stop", "many"), [(0, 1, 1), (9, 10, 1), (9, 11, 2), (50, 60, 1), (55, 65, 2), (7, 7, 0), (0, 205, 21)]
)
def test_only_the_blocks_needed_are_decoded(
    blocks: tuple[Archive, Array], monkeypatch: pytest.MonkeyPatch, start: int, stop: int, many: int
) -> None:
    decoded = []
    plain = Model.decompress
    monkeypatch.setattr(Model, "decompress", lambda self, payload: decoded.append(1) or plain(self, payload))
    _ = blocks[0][start:stop]
    assert len(decoded) == many


def test_batches_are_the_rows_in_order(blocks: tuple[Archive, Array]) -> None:
    archive, full = blocks
    assert len(archive) == 205
    assert np.array_equal(np.concatenate(list(archive)), full)
    assert np.array_equal(np.concatenate(list(archive.batches(13, 87))), full[13:87])
    with pytest.raises(InputError):
        list(archive.batches(3, 206))


# --- verify ---------------------------------------------------------------------------------------------------------


def test_verify_finds_another_source(blocks: tuple[Archive, Array]) -> None:
    archive, full = blocks
    found = aecompress.verify(archive.path, against=full)
    assert found["bound_kept"] is True
    assert found["max_abs_error"] == 0.0
    other = full.copy()
    other[100, 2] += 0.0101
    for wrong in (other, full[:-1], full[:, :3], full.astype(np.float64)):
        with pytest.raises(VerificationError):
            aecompress.verify(archive.path, against=wrong)


@pytest.mark.parametrize("value", [np.nan, 0.0, 1e-40, np.inf])
def test_verify_compares_special_values_bit_for_bit(tmp_path: Path, value: float) -> None:
    """A changed sign is within the bound for some of them, and found all the same."""
    values = np.linspace(-1, 1, 60, dtype=np.float32).reshape(20, 3)
    values[4, 1] = value
    aecompress.pack(values, tmp_path / "a", model="none", target=Target("max-error", 0.5))
    assert aecompress.verify(tmp_path / "a", against=values)["rows"] == 20
    values.view(np.uint32)[4, 1] ^= 1 << 31
    with pytest.raises(VerificationError):
        aecompress.verify(tmp_path / "a", against=values)


# --- models of other data -------------------------------------------------------------------------------------------


def test_a_model_of_calm_data_keeps_the_bound_on_wild_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    calm = rng.normal(size=(300, 8)).astype(np.float32)
    model = aecompress.fit(calm, Target("max-error", 0.01), kind="none")
    for wild in (calm * 1e6, np.full_like(calm, np.nan), calm.view(np.uint32)[::-1].view(np.float32), calm * 0):
        batch = model.decompress(model.compress(wild))
        check_bound(wild, batch, np.array(0.01))
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        aecompress.pack(wild, path, model=model)
        check_bound(wild, Archive(path)[:], np.array(0.01))


def test_a_model_refuses_other_rows(tmp_path: Path) -> None:
    model = aecompress.fit(np.zeros((9, 3), np.float32), Target("max-error", 0.01), kind="none")
    for other in (np.zeros((9, 4), np.float32), np.zeros((9, 3)), np.zeros(9, np.float32)):
        with pytest.raises(ModelError):
            aecompress.pack(other, tmp_path / "a", model=model)
        assert not (tmp_path / "a").exists()


def test_an_archive_refuses_a_block_of_another_length(blocks: tuple[Archive, Array], monkeypatch: Any) -> None:
    plain = Model.decompress
    monkeypatch.setattr(Model, "decompress", lambda self, payload: plain(self, payload)[:-1])
    with pytest.raises(CorruptError):
        _ = blocks[0][0:5]
