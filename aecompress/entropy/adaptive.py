"""Binary decisions coded with probabilities that adapt: several predictions of each bit, mixed in the logistic domain.

    contexts ─► slots: a probability and how often it was used, one for each input ┐
                                                                                    ├─► mixed ─► p ─► rANS
    set of weights, by the kind of decision ────────────────────────────────────────┘      ▲
                                                             both learn from the bit ──────┘

Nothing is learned beforehand and nothing is stored: both sides start from the same slots and weights and learn from
the same bits (context mixing, Mahoney 2005). Integers only, so every machine agrees. The encoder's decisions are
collected, and coded last to first by one rANS state, which takes no more than 8 bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aecompress.entropy.bits import word_at
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.rans import begin, first_state, put
from aecompress.entropy.tokens import Scalar
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: log2 of one in probabilities.
PRECISION = 16

#: Logarithms of odds are in 1/256, from -MOST_ODDS to MOST_ODDS.
MOST_ODDS = 3071

#: A weight of one.
ONE = 1 << 16

_ODDS = np.int64(MOST_ODDS)
_TABLE_BITS = 12
_COUNT = 8  # bits of a slot that count its uses

#: The most uses that a slot counts: how slowly it forgets.
MOST_USES = (1 << _COUNT) - 1
_BIAS = np.int64(256)
_RATE = np.int64(8)
_RATE_SHIFT = np.int64(18)
_HALF = np.int64(1 << 17)
_LOW = np.uint64(1 << 31)
_WORD = np.uint64(32)
_MASK = np.uint64((1 << PRECISION) - 1)
_TOP = np.int64(1 << PRECISION)
_LEAST = np.int64(16)  # a slot's probability stays this far from 0 and 1


def _squash() -> Array:
    """int32 probabilities of the odds -MOST_ODDS ... MOST_ODDS: 2^16 / (1 + exp(-t / 256)), by integers alone."""
    one = 1 << 160
    term, total, k = one, one, 1
    while term:
        term //= 256 * k
        total += term
        k += 1
    shrink, power = one * one // total, one
    half = []
    for _ in range(MOST_ODDS + 1):
        half.append(min((((one << (PRECISION + 1)) // (one + power)) + 1) // 2, (1 << PRECISION) - 1))
        power = power * shrink // one
    return np.array([(1 << PRECISION) - p for p in reversed(half[1:])] + half, np.int32)


_SQUASH = _squash()

#: A slot that was never used and knows nothing.
EVEN = np.uint32(1 << (PRECISION - 1 + _COUNT))

# the odds of the middle of each 2^-12 of probability
_STRETCH = (np.searchsorted(_SQUASH, np.arange(8, 1 << PRECISION, 1 << 4)) - MOST_ODDS).astype(np.int16)

# how far a slot moves towards the bit at its n-th use, in 1/2^16
_RATES = np.array([(1 << 17) // (2 * n + 3) for n in range(MOST_USES + 1)], np.int64)


class Machine(NamedTuple):
    """What predicts decisions and learns from them, as compiled loops take it.

    Attributes:
        known: uint32 slots: a probability of 1 in the upper 24 bits, in 1/2^16, and a count of uses.
        mix: int32 [sets * (inputs + 1)] weights; the last of each set is for a constant.
        places: int64 [inputs]: the slots of the next decision, to be filled in by the loop.
        odds: int64 [inputs], scratch.
        words, at: where decisions go to, or come from; see Tape.
        uses: the most that slots count.
    """

    known: Array
    mix: Array
    places: Array
    odds: Array
    words: Array
    at: Array
    uses: Scalar


def machine(tape: Tape, *, inputs: int, slots: int, sets: int, share: float = 0.5, uses: int = MOST_USES) -> Machine:
    """One that knows nothing: slots with a probability of ``share`` for a 1, weights that take the mean."""
    known = np.full(slots, int(share * (1 << PRECISION)) << _COUNT, np.uint32)
    mix = np.full((sets, inputs + 1), ONE // inputs, np.int32)
    mix[:, -1] = 0
    scratch = np.zeros((2, inputs), np.int64)
    return Machine(known, mix.reshape(-1), scratch[0], scratch[1], tape.words, tape.at, np.int64(uses))


class Tape:
    """Where decisions go to, or come from.

    Attributes:
        words: uint32 decisions of an encoder (probability and bit), or the words of a stream.
        at: uint64 [2]: the next word, and the state of the decoder.
    """

    def __init__(self, words: Array, at: Array) -> None:
        self.words, self.at = words, at

    @classmethod
    def empty(cls, most: int) -> Tape:
        """For an encoder of at most ``most`` decisions."""
        return cls(np.empty(most, np.uint32), np.zeros(2, np.uint64))

    @classmethod
    def of(cls, data: bytes) -> Tape:
        """For the decoder of a stream. Raises CorruptError for what is none."""
        if len(data) < 8 or len(data) % 4:
            raise CorruptError("A stream of decisions is cut short; the file is damaged.")
        words = np.frombuffer(data, "<u4").astype(np.uint32)
        return cls(words, np.array([2, first_state(words, 0)], np.uint64))

    def finish(self) -> None:
        """Raises CorruptError unless a decoder has read all of its stream, and nothing behind it."""
        if self.at.tolist() != [self.words.size, int(_LOW)]:
            raise CorruptError("A stream of decisions does not end where it should; the file is damaged.")

    def to_bytes(self) -> bytes:
        """The stream of an encoder's decisions."""
        decisions = self.words[: int(self.at[0])]
        words = np.empty(decisions.size // 2 + 8, np.uint32)
        return words[_encode(decisions, words) :].astype("<u4").tobytes()


@loop
def _encode(decisions: Array, words: Array) -> Scalar:
    """Fill uint32 words from their end: the state first, then the stream. Returns where they begin."""
    at = words.size
    x = _LOW
    for i in range(decisions.size - 1, -1, -1):
        p = np.uint64(decisions[i] >> np.uint32(1))
        bit = decisions[i] & np.uint32(1)
        start = np.uint64(0) if bit else p
        frequency = p if bit else np.uint64(_TOP) - p
        x, at = put(x, start, frequency, np.uint64(PRECISION), words, at)
    return begin(x, words, at)


@inlined
def astray(decoding: Scalar, m: Machine) -> Scalar:
    """True if a decoder reads behind the end of its stream: to ask now and then, so that damage costs little time."""
    return decoding and m.at[0] > np.uint64(m.words.size)


@inlined
def code(bit: Scalar, p: Scalar, decoding: Scalar, words: Array, at: Array) -> Scalar:
    """One decision of probability ``p`` for a 1: noted, or read instead of ``bit``. Returns the bit."""
    if not decoding:
        words[at[0]] = np.uint32(p << np.int64(1) | bit)
        at[0] += np.uint64(1)
        return np.int64(bit)
    x = at[1]
    slot = x & _MASK
    chance = np.uint64(p)
    if slot < chance:
        bit = np.int64(1)
        x = chance * (x >> np.uint64(PRECISION)) + slot
    else:
        bit = np.int64(0)
        x = (np.uint64(_TOP) - chance) * (x >> np.uint64(PRECISION)) + slot - chance
    if x < _LOW:
        x = (x << _WORD) | word_at(words, np.int64(at[0]))
        at[0] += np.uint64(1)
    at[1] = x
    return bit


@inlined
def decide(bit: Scalar, decoding: Scalar, offset: Scalar, of: Scalar, m: Machine) -> Scalar:
    """One decision predicted by the slots ``known[places + offset]`` and mixed by the set ``of``; both learn from it.

    ``bit`` (0 or 1) is ignored by a decoder, which reads it. Returns the bit.
    """
    inputs = m.places.size
    first = np.uint64(of * (inputs + 1))
    total = np.int64(m.mix[first + np.uint64(inputs)]) * _BIAS
    for k in range(inputs):
        slot = m.known[np.uint64(m.places[k] + offset)]
        odd = np.int64(_STRETCH[slot >> np.uint32(_COUNT + PRECISION - _TABLE_BITS)])
        m.odds[k] = odd
        total += odd * np.int64(m.mix[first + np.uint64(k)])
    p = np.int64(_SQUASH[np.uint64(min(max(total >> np.int64(16), -_ODDS), _ODDS) + _ODDS)])
    bit = code(bit, p, decoding, m.words, m.at)
    goal = bit << np.int64(PRECISION)
    miss = (goal - p) * _RATE
    for k in range(inputs):
        m.mix[first + np.uint64(k)] += np.int32((m.odds[k] * miss + _HALF) >> _RATE_SHIFT)
        place = np.uint64(m.places[k] + offset)
        slot = m.known[place]
        uses = np.int64(slot & np.uint32(MOST_USES))
        share = np.int64(slot >> np.uint32(_COUNT))
        share += ((goal - share) * _RATES[np.uint64(uses)]) >> np.int64(16)
        share = min(max(share, _LEAST), _TOP - _LEAST)
        m.known[place] = np.uint32((share << np.int64(_COUNT)) | min(uses + 1, m.uses))
    m.mix[first + np.uint64(inputs)] += np.int32((_BIAS * miss + _HALF) >> _RATE_SHIFT)
    return bit
