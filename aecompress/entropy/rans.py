"""Range asymmetric numeral systems (Duda 2013) with 64-bit states and 32-bit words, compiled.

A state x lies in [2^31, 2^63). Symbols are encoded last to first and decoded first to last; table frequencies sum to
2^16. Several interleaved states let the processor work on several symbols at once where contexts are known up front;
the context coder keeps one, since each of its contexts waits for the symbol before.
"""

from __future__ import annotations

import numpy as np

from aecompress.entropy.bits import get_bits, put_bits, word_at
from aecompress.entropy.division import divided
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tables import LOOKUP_BITS, PRECISION, Tables
from aecompress.entropy.tokens import Scalar, raw_width, token_floor, token_of, unzigzag, zigzag
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: Interleaved states where all contexts are known before decoding.
LANES = 4

_LOW = np.uint64(1 << 31)
_WORD = np.uint64(32)
_PRECISION = np.uint64(PRECISION)
_MASK = np.uint64((1 << PRECISION) - 1)
_TOP = np.uint64(PRECISION - LOOKUP_BITS)
_ESCAPE_BITS = np.int64(8)


@inlined
def put(
    x: Scalar, start: Scalar, frequency: Scalar, precision: Scalar, words: Array, at: Scalar
) -> tuple[Scalar, Scalar]:  # fmt: skip
    """The encoder's state after it took a slot of 2^``precision``, all uint64, and where the words begin that it fills
    from their end."""
    if x >= frequency << (np.uint64(63) - precision):
        at -= 1
        words[at] = np.uint32(x & np.uint64(0xFFFFFFFF))
        x >>= _WORD
    times, rest = divided(np.int64(x), np.int64(frequency))
    return (np.uint64(times) << precision) + np.uint64(rest) + start, at


@inlined
def begin(x: Scalar, words: Array, at: Scalar) -> Scalar:
    """Put the last state in front of the words, where ``first_state`` finds it; returns where they begin."""
    at -= 2
    words[at] = np.uint32(x & np.uint64(0xFFFFFFFF))
    words[at + 1] = np.uint32(x >> _WORD)
    return at


def encode_symbols(symbols: Array, contexts: Array, cumulative: Array, lanes: int) -> Array:
    """uint32 words that decode to ``symbols`` [n] with table ``contexts`` [n]: the states first, then the stream."""
    words = np.empty(symbols.size // 2 + 2 * lanes + 8, np.uint32)
    at = _encode_symbols(symbols, contexts, cumulative, np.full(lanes, _LOW, np.uint64), words)
    return words[at:].copy()


@loop
def _encode_symbols(symbols: Array, contexts: Array, cumulative: Array, state: Array, words: Array) -> Scalar:
    """Fill ``words`` from their end; returns where they begin."""
    at, lanes = words.size, state.size
    for i in range(symbols.size - 1, -1, -1):
        lane = i % lanes
        start = np.uint64(cumulative[contexts[i], symbols[i]])
        frequency = np.uint64(cumulative[contexts[i], symbols[i] + 1]) - start
        state[lane], at = put(state[lane], start, frequency, _PRECISION, words, at)
    for lane in range(lanes - 1, -1, -1):
        at = begin(state[lane], words, at)
    return at


@inlined
def symbol_at(x: Scalar, lookup: Array, cumulative: Array, table: Scalar) -> Scalar:
    """The symbol that owns the slot of state ``x``."""
    slot = x & _MASK
    s = np.int64(lookup[table, np.int64(slot >> _TOP)])
    while np.uint64(cumulative[table, s + 1]) <= slot:
        s += 1
    return s


@inlined
def advance(x: Scalar, cumulative: Array, table: Scalar, s: Scalar) -> Scalar:
    """The state after symbol ``s`` was taken from it, before renormalisation."""
    start = np.uint64(cumulative[table, s])
    return (np.uint64(cumulative[table, s + 1]) - start) * (x >> _PRECISION) + (x & _MASK) - start


@inlined
def first_state(words: Array, lane: Scalar) -> Scalar:
    return word_at(words, 2 * lane) | (word_at(words, 2 * lane + 1) << _WORD)


def decode_symbols(words: Array, contexts: Array, lookup: Array, cumulative: Array, lanes: int) -> Array:
    """The uint16 symbols [n] that ``encode_symbols`` was given."""
    out = np.empty(contexts.size, np.uint16)
    _decode_symbols(words, contexts, lookup, cumulative, np.empty(lanes, np.uint64), out)
    return out


@loop
def _decode_symbols(
    words: Array, contexts: Array, lookup: Array, cumulative: Array, state: Array, out: Array
) -> None:  # fmt: skip
    lanes = state.size
    for lane in range(lanes):
        state[lane] = first_state(words, lane)
    at = 2 * lanes
    for i in range(contexts.size):
        lane = i % lanes
        table = np.int64(contexts[i])
        s = symbol_at(state[lane], lookup, cumulative, table)
        out[i] = s
        x = advance(state[lane], cumulative, table, s)
        if x < _LOW:
            x = (x << _WORD) | word_at(words, at)
            at += 1
        state[lane] = x


@inlined
def symbol_of(token: Scalar, table: Scalar, cumulative: Array, escape: Scalar) -> Scalar:
    """The token itself, or the escape where the table does not know it."""
    if token < escape and cumulative[table, token + 1] > cumulative[table, token]:
        return np.int64(token)
    return np.int64(escape)


def encode_raw(values: Array, symbols: Array, escape: int) -> Array:
    """uint32 words of the raw bits of ``values`` (zigzagged uint64), tokens of escaped symbols first."""
    words = np.zeros(_raw_bits(values, symbols, escape) // 32 + 1, np.uint32)
    _encode_raw(values, symbols, escape, words)
    return words


@loop
def _raw_bits(values: Array, symbols: Array, escape: Scalar) -> Scalar:
    bits = np.int64(0)
    for i in range(values.size):
        if symbols[i] >= 16:
            bits += raw_width(token_of(values[i])) + (_ESCAPE_BITS if symbols[i] == escape else np.int64(0))
        elif symbols[i] == escape:
            bits += _ESCAPE_BITS + raw_width(token_of(values[i]))
    return bits


@loop
def _encode_raw(values: Array, symbols: Array, escape: Scalar, words: Array) -> None:
    at = np.int64(0)
    for i in range(values.size):
        if symbols[i] < 16 and symbols[i] != escape:
            continue
        token = token_of(values[i])
        if symbols[i] == escape:
            at = put_bits(words, at, np.uint64(token), _ESCAPE_BITS)
        at = put_bits(words, at, values[i] - token_floor(token), raw_width(token))


@loop
def _to_symbols(
    values: Array, contexts: Array, cumulative: Array, escape: Scalar, folded: Array, symbols: Array
) -> None:  # fmt: skip
    """Fill in zigzagged values uint64 [n] and symbols uint16 [n] of int64 ``values``."""
    for i in range(values.size):
        folded[i] = zigzag(values[i])
        symbols[i] = symbol_of(token_of(folded[i]), contexts[i], cumulative, escape)


@loop
def _from_symbols(symbols: Array, raw: Array, escape: Scalar, out: Array) -> None:
    """Fill in the int64 values of symbols and raw bits."""
    at = np.int64(0)
    for i in range(symbols.size):
        token = np.int64(symbols[i])
        if token == escape:
            token = np.int64(get_bits(raw, at, _ESCAPE_BITS))
            at += _ESCAPE_BITS
        width = raw_width(token)
        out[i] = unzigzag(token_floor(token) + get_bits(raw, at, width))
        at += width


def join(coded: Array, raw: Array) -> bytes:
    """One stream of the entropy-coded words and the raw words: a count of the first, then both."""
    return np.concatenate([np.array([coded.size], "<u4"), coded.astype("<u4"), raw.astype("<u4")]).tobytes()


def behind(first: bytes, rest: bytes) -> bytes:
    """One stream behind another, and how long that is before both."""
    return len(first).to_bytes(4, "little") + first + rest


def apart(data: bytes | memoryview) -> tuple[memoryview, memoryview]:
    """Undo ``behind``. Raises CorruptError if the first stream is shorter than it should be."""
    view = memoryview(data)
    size = int.from_bytes(view[:4], "little")
    if len(view) < 4 + size:
        raise CorruptError("A coded stream is cut short; the file is damaged.")
    return view[4 : 4 + size], view[4 + size :]


def split(data: bytes | memoryview) -> tuple[Array, Array]:
    """Undo ``join``. Raises CorruptError if the count does not fit the stream."""
    if len(data) < 4 or len(data) % 4:
        raise CorruptError("A coded stream is cut short; the file is damaged.")
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    if words[0] > words.size - 1:
        raise CorruptError("A coded stream announces more words than it has; the file is damaged.")
    return words[1 : 1 + int(words[0])], words[1 + int(words[0]) :]


def encode(values: Array, contexts: Array, tables: Tables) -> bytes:
    """int64 ``values`` [n], each with table ``contexts`` uint16 [n], as one stream."""
    folded, symbols = np.empty(values.size, np.uint64), np.empty(values.size, np.uint16)
    _to_symbols(values, contexts, tables.cumulative, tables.escape, folded, symbols)
    coded = encode_symbols(symbols, contexts, tables.cumulative, LANES)
    return join(coded, encode_raw(folded, symbols, tables.escape))


def decode(data: bytes, contexts: Array, tables: Tables) -> Array:
    """The int64 values [n] of a stream; ``contexts`` as they were encoded."""
    coded, raw = split(data)
    symbols = decode_symbols(coded, contexts, tables.lookup, tables.cumulative, LANES)
    out = np.empty(symbols.size, np.int64)
    _from_symbols(symbols, raw, tables.escape, out)
    return out
