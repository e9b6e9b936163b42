"""One block: what a model compresses it decompresses, and nothing else passes for a payload or a model."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import textwrap
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

import aecompress
from aecompress import tensorfile
from aecompress.codec import cells
from aecompress.codec.frame import METHODS, MOST_ROWS, STREAMS, Frame
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.errors import AecompressError, CorruptError, ModelError, VersionError
from aecompress.spec import Array

KINDS = ["none"]
BOUND = Target("max-error", 0.05)

relaxed = settings(deadline=None)


@cache
def fitted(kind: str, target: Target = BOUND) -> tuple[Model, Array]:
    """A model, and rows of the kind it was fitted to, with some special values among them."""
    rng = np.random.default_rng(6)
    rows = (rng.normal(size=(300, 3)) @ rng.normal(size=(3, 12))).astype(np.float32)
    rows += 0.01 * rng.normal(size=rows.shape).astype(np.float32)
    rows[7, 3], rows[8], rows[9, 0] = np.nan, np.inf, -0.0
    return aecompress.fit(rows, target, kind=kind, seconds=1), rows


def check(model: Model, rows: Array) -> None:
    decoded = model.decompress(model.compress(rows))
    assert decoded.shape == rows.shape
    assert decoded.dtype == rows.dtype
    finite = np.isfinite(rows)
    assert np.array_equal(decoded.view(np.uint32)[~finite], rows.view(np.uint32)[~finite])
    assert (np.abs(decoded[finite].astype(float) - rows[finite].astype(float)) <= 0.05).all()


LOSSLESS = Target("lossless")


def floats_of(kind: str, dtype: str) -> Array:
    """Rows for which this is the thriftiest way to hold floats without loss, and special values among them."""
    rng = np.random.default_rng(4)
    rows = {
        "fixed": rng.normal(size=(1500, 8)),
        "decimal": np.round(rng.normal(size=(1500, 8)).cumsum(0), 2),
        "bits": np.exp(20 * rng.normal(size=(1500, 8))),
    }[kind].astype(dtype)
    rows[3, :5] = [np.nan, -np.inf, -0.0, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max]
    rows[1400:] *= np.array(np.pi, dtype)  # digits as no sample had
    return rows


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", ["fixed", "decimal", "bits"])
def test_floats_without_loss_come_back_bit_for_bit(kind: str, dtype: str) -> None:
    rows = floats_of(kind, dtype)
    model = aecompress.fit(rows[:1000], LOSSLESS, kind="none")
    assert model.cells.kind == kind
    stored = Model.from_bytes(model.to_bytes())
    pattern = f"u{rows.dtype.itemsize}"
    for part in (rows, rows[:1], rows[1400:], rows[3:4]):
        decoded = stored.decompress(model.compress(part))
        assert np.array_equal(decoded.view(pattern), part.view(pattern))


def test_fixed_point_pays() -> None:
    rows = floats_of("fixed", "f4")[:1400]
    bits = aecompress.fit(rows, LOSSLESS, kind="none").compress(rows)
    assert len(bits) < 0.85 * rows.nbytes


@pytest.mark.parametrize("task", ["denoise", "colorize"])
def test_a_model_for_another_task_is_named_so(task: str) -> None:
    data = save({}, {"aecompress-task": json.dumps({"task": task})})
    with pytest.raises(ModelError, match=f"is for aecompress {task}: .* without --task"):
        Model.from_bytes(data)


@pytest.mark.parametrize(
    ("kind", "point"),
    [("bits", [1]), ("fixed", []), ("fixed", [0]), ("fixed", [0, 54]), ("fixed", [-1075, 24]), ("decimal", [23]),
     ("decimal", [-1]), ("real", [1])],
)  # fmt: skip
def test_impossible_points_are_refused(kind: str, point: list[int]) -> None:
    with pytest.raises(CorruptError):
        cells.Cells.from_parts({"kind": kind, "axis": None, "relative": None, "point": point}, {})


# --- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("many", [0, 1, 2, 9, 300])
def test_blocks_of_any_length_come_back(kind: str, many: int) -> None:
    model, rows = fitted(kind)
    check(model, rows[:many])


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_in_any_layout_come_back(kind: str) -> None:
    model, rows = fitted(kind)
    check(model, rows[::-3])
    check(model, np.asfortranarray(rows))
    assert model.compress(rows.astype(">f4")) == model.compress(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_compress_is_a_function_and_leaves_its_input_alone(kind: str) -> None:
    model, rows = fitted(kind)
    before = rows.tobytes()
    assert model.compress(rows) == model.compress(rows)
    assert rows.tobytes() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((3, 12)),
        np.zeros((3, 12), np.int32),
        np.zeros((3, 11), np.float32),
        np.zeros((3, 12, 1), np.float32),
        np.zeros(12, np.float32),
        np.float32(1.0),
    ],
    ids=["dtype", "kind", "columns", "axes", "one row", "no axes"],
)
def test_other_rows_are_refused(kind: str, batch: Array) -> None:
    with pytest.raises(ModelError):
        fitted(kind)[0].compress(batch)


@pytest.mark.parametrize("kind", KINDS)
def test_coded_says_what_the_reader_will_find(kind: str) -> None:
    model, rows = fitted(kind)
    coded = model.code(rows)
    decoded = model.decompress(coded.payload)
    finite = np.isfinite(rows)
    error = np.abs(rows[finite].astype(float) - decoded[finite].astype(float))
    assert coded.method in METHODS.values()
    assert coded.distortion.count == finite.sum()
    assert coded.distortion.max_abs == error.max()
    assert coded.distortion.sse == pytest.approx(np.square(error).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_holds_finds_every_broken_value(kind: str) -> None:
    model, rows = fitted(kind)
    assert model.holds(rows, rows)
    for row, column, value in [(0, 0, rows[0, 0] + 0.06), (7, 3, 1.0), (8, 2, -np.inf), (9, 0, 0.0), (5, 5, np.nan)]:
        changed = rows.copy()
        changed[row, column] = value
        assert not model.holds(rows, changed)


# --- cells ----------------------------------------------------------------------------------------------------------


def resolved(row: Array, share: float, fills: Array) -> tuple[float, float]:
    """Bound and step of one row, value by value."""
    values = [float(x) for x in row if math.isfinite(x) and x not in fills]
    bound = share * (max(values) - min(values)) if values else 0.0
    if row.dtype.kind != "f":
        bound = math.floor(min(bound, 2.0**52))
        return bound, 2 * bound + 1
    if not 0 < 2 * bound < math.inf:
        size = max(map(abs, values), default=0.0)
        return 0.0, size or 1.0
    tiny = float(np.finfo(row.dtype).tiny)
    sizes = sorted(abs(x) for x in values if abs(x) >= tiny or (x == 0 and math.copysign(1, x) > 0))
    typical = sizes[int((len(sizes) - 1) * 0.999)] if sizes else 0.0
    largest = np.nextafter(np.finfo(row.dtype).max, row.dtype.type(0))
    ulp = float(np.spacing(min(row.dtype.type(typical), largest)))
    return bound, max(2 * (bound - 0.5 * ulp) if bound > ulp else 2 * bound, float(np.finfo(np.float64).tiny))


any_rows = st.sampled_from(["f2", "f4", "f8", "u1", "i2", "i8", "u8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 6), st.integers(1, 9)))
)


@relaxed
@given(any_rows, st.one_of(st.floats(1e-9, 10), st.sampled_from([1e18, 1e300, 1.7e308])), st.booleans())
def test_rows_get_cells_of_their_own(rows: Array, share: float, filled: bool) -> None:
    fills = rows[0, :1] if filled else rows[0, :0]
    bounds, steps = cells.resolve(rows, share, fills)
    for i, row in enumerate(rows):
        assert (bounds[i], steps[i]) == resolved(row, share, fills)


def test_no_cell_where_there_are_no_values() -> None:
    none = np.zeros(0)
    assert cells.Cells("real", none, none, axis=1).most == 0.0
    bounds, steps = cells.Cells("real", axis=0, relative=1e-3).bounds(np.zeros((3, 0)), none)
    assert bounds.shape == (3, 1)
    assert steps is not None
    assert (steps == 1).all()


# --- damaged and foreign payloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_bit_of_a_payload_is_found(kind: str) -> None:
    model, rows = fitted(kind)
    payload = model.compress(rows[:20])
    for bit in range(8 * len(payload)):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptError):
            model.decompress(bytes(changed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_prefix_of_a_payload_is_refused(kind: str) -> None:
    model, rows = fitted(kind)
    payload = model.compress(rows[:20])
    for end in range(len(payload)):
        with pytest.raises(CorruptError):
            model.decompress(payload[:end])
    with pytest.raises(CorruptError):
        model.decompress(payload + b"\0")


@relaxed
@given(st.binary(max_size=100))
def test_garbage_is_no_payload(data: bytes) -> None:
    with pytest.raises(CorruptError):
        fitted("none")[0].decompress(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_payload_of_another_model_is_refused(kind: str) -> None:
    model, rows = fitted(kind)
    other, _ = fitted(kind, Target("max-error", 0.06))
    with pytest.raises(CorruptError):
        other.decompress(model.compress(rows))


streams_of = st.dictionaries(st.sampled_from(list(STREAMS.values())), st.binary(max_size=300))


@relaxed
@given(st.sampled_from(list(METHODS.values())), st.integers(0, MOST_ROWS), streams_of, st.binary(max_size=64))
def test_frames_round_trip(method: str, rows: int, streams: dict[str, bytes], key: bytes) -> None:
    frame = Frame(method, rows, streams)
    data = frame.to_bytes(key)
    assert Frame.from_bytes(data, key) == frame
    assert len(data) <= frame.size + 8 + 2 + 6 + 1 + 4 * len(streams)


def signed(body: bytes, key: bytes) -> bytes:
    return body + hashlib.blake2b(body, digest_size=8, key=key).digest()


@pytest.mark.parametrize(
    "body",
    [
        b"\x01",
        b"\x01\x01",
        b"\x02\x01\x01\0",
        b"\x01\x63\x01\0",
        b"\x01\x01\x01",
        b"\x01\x01\x01\x02",
        b"\x01\x01\x01\x63\x00\0",
        b"\x01\x01\x01\x02\x05\0four",
        b"\x01\x01\x01\x02\x01\0four",
        b"\x01\x01" + b"\xff" * 10_000 + b"\x01\0",
        Frame("context", MOST_ROWS + 1, {}).to_bytes(b"")[:-8],
    ],
)
def test_a_wrong_frame_with_a_right_checksum_is_refused(body: bytes) -> None:
    with pytest.raises(CorruptError):
        Frame.from_bytes(signed(body, b"key"), b"key")


HOSTILE = """
    import faulthandler, hashlib, random, resource, sys
    import numpy as np
    import aecompress
    from aecompress.codec.frame import METHODS, STREAMS, Frame
    from aecompress.config import Target
    from aecompress.errors import CorruptError
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    random.seed(1)
    rows = np.random.default_rng(6).normal(size=(40, 12)).cumsum(1).astype(np.float32)
    rows[7, 3] = np.nan
    model = aecompress.fit(rows, Target("max-error", 0.05), kind="none")
    key, payload = model.identity, model.compress(rows)

    def refused(data):
        try:
            model.decompress(data)
        except CorruptError:
            return

    def signed(body):
        return bytes(body) + hashlib.blake2b(bytes(body), digest_size=8, key=key).digest()
"""


def hostile(code: str) -> None:
    """Run ``code`` behind HOSTILE in a process of its own: 4 GB, 60 s."""
    script = textwrap.dedent(HOSTILE) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]


def test_changed_payloads_with_a_right_checksum_never_crash() -> None:
    hostile("""
        body = bytearray(payload[:-8])
        for trial in range(3000):
            changed = bytearray(body)
            for _ in range(random.choice([1, 1, 3])):
                changed[random.randrange(min(len(body), random.choice([20, 60, 10**9])))] ^= 1 << random.randrange(8)
            refused(signed(changed))
        for end in range(len(body)):
            refused(signed(body[:end]))
    """)


def test_streams_that_do_not_belong_together_never_crash() -> None:
    hostile("""
        frame = Frame.from_bytes(payload, key)
        streams = list(frame.streams.values()) + [b"", b"\\0" * 40]
        for trial in range(3000):
            names = random.sample(list(STREAMS.values()), random.randrange(7))
            mixed = {name: random.choice(streams) for name in names}
            rows_of = random.choice([0, 1, 39, 40, 41, 2**20])
            refused(Frame(random.choice(list(METHODS.values())), rows_of, mixed).to_bytes(key))
    """)


def test_a_block_that_announces_too_many_rows_is_refused() -> None:
    hostile("""
        frame = Frame.from_bytes(payload, key)
        for rows_of in (2**33, 2**36, 2**45, 2**62, 2**70):
            for method in METHODS.values():
                refused(Frame(method, rows_of, frame.streams).to_bytes(key))
    """)


# --- model files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_model_codes_and_decodes_the_same(kind: str) -> None:
    model, rows = fitted(kind)
    again = Model.from_bytes(model.to_bytes(encoder=True))
    assert again.identity == model.identity
    assert again.compress(rows) == model.compress(rows)
    reader = Model.from_bytes(model.to_bytes())
    assert reader.identity == model.identity
    assert reader.to_bytes() == model.to_bytes()
    assert np.array_equal(
        reader.decompress(model.compress(rows)).view(np.uint32), model.decompress(model.compress(rows)).view(np.uint32)
    )


def test_damaged_model_files_are_refused_or_other_models() -> None:
    model, rows = fitted("none")
    data, payload = model.to_bytes(), model.compress(rows[:5])
    for end in range(0, len(data), 7):
        with pytest.raises(AecompressError):
            Model.from_bytes(data[:end])
    for bit in range(0, 8 * len(data), 5):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with suppress(AecompressError):
            other = Model.from_bytes(bytes(changed))
            assert other.identity == model.identity or refuses(other, payload)


def refuses(model: Model, payload: bytes) -> bool:
    try:
        model.decompress(payload)
    except CorruptError:
        return True
    return False


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"x" * 100, b"\xff" * 16, b"PK\x03\x04", b"[" * 100_000])
def test_other_files_are_no_models(data: bytes) -> None:
    with pytest.raises(ModelError):
        Model.from_bytes(data)


def test_a_model_of_a_newer_format_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = fitted("none")[0].to_bytes()
    monkeypatch.setattr("aecompress.codec.model.VERSION", 0)
    with pytest.raises(VersionError, match="of format version 1, this release reads up to 0: upgrade"):
        Model.from_bytes(data)


def test_tables_are_coded_down_their_columns_where_that_is_smaller() -> None:
    motifs = np.random.default_rng(3).normal(size=(30, 100)).astype(np.float32)
    # each column repeats itself after a time of its own, so no two rows are alike
    rows = np.stack([motifs[c, np.arange(2000) % (41 + c)] for c in range(30)], axis=1)
    model = aecompress.fit(rows, LOSSLESS, kind="none")
    coded = model.code(rows)
    assert coded.method == "columns"
    assert np.array_equal(model.decompress(coded.payload), rows)


@settings(deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)))
def test_arrays_of_any_layout_come_back_from_a_file(array: Array) -> None:
    views = {"whole": array, "turned": array.T, "every other": array[::-2] if array.ndim else array}
    data = tensorfile.to_bytes(views, {"text": "1"})
    found = tensorfile.from_bytes(data)
    assert all(np.array_equal(found[name], views[name], equal_nan=True) for name in views)
    assert tensorfile.metadata_of(data) == {"text": "1"}
