"""Passes of a network over a block, part by part, so that a decoder can follow while the encoder goes on.

    encoder ──► part ──► part ──► part
                 └──► decoder ──► values

A part is a stream of its own; what adapts goes on from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from aecompress.context import neural
from aecompress.context.kernel import Plan, Stencil
from aecompress.context.network import Network
from aecompress.context.regression import NO_STATE, Regression, State
from aecompress.context.relations import NO_LINKS, Links
from aecompress.context.sample import Sample
from aecompress.entropy import rans
from aecompress.entropy.bits import join_bits
from aecompress.spec import Array

#: Slots of coded values: uint32 [n] starts and frequencies, and their raw bits, uint64 [n] and int64 [n].
Slots = tuple[Array, Array, Array, Array]

_NO_WORDS = np.empty(0, np.uint32)
_NO_SLOTS = _NO_WORDS, _NO_WORDS, np.empty(0, np.uint64), np.empty(0, np.int64)
_NO_LESSON = np.empty(0, np.bool_), np.empty((0, 0), np.int8), np.empty((0, 0), np.int64)


class Way(NamedTuple):
    """How to go over a block, forwards and back: ``part`` is log2 of the values of a part, None if the block is one."""

    near: Stencil
    plan: Plan
    network: Network
    part: int | None


class _Pass:
    """A network on its way over a block."""

    def __init__(self, sample: Sample, way: Way, learning: State = NO_STATE, links: Links = NO_LINKS) -> None:
        near, self._plan, network, part = way
        self._shape, self._near = sample.q.shape, near
        self._q, self._coded = sample.flat(), np.ascontiguousarray(sample.coded).reshape(-1)
        self._learning, self._links, self._fine = learning, links, sample.fine()
        self._layers = network.layers()
        self._scratch = neural.Scratch.of(self._q.size, near, self._layers)
        self._in_parts = part is not None
        self._channels = int(near.size[4])
        self._cells = self._coded.size // self._channels
        self._step = self._cells if part is None else max((1 << part) // self._channels, 1)
        self._room = self._step * self._channels
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at >= self._cells

    def _go(self, mode: int, slots: Slots = _NO_SLOTS, words: Array = _NO_WORDS, raw: Array = _NO_WORDS) -> int:
        """Do the next part; returns how many values were coded."""
        first, self._at = self._at, min(self._at + self._step, self._cells)
        block = self._q, self._coded, self._near, self._plan, self._learning, self._links, self._fine, self._layers
        streams = *_NO_LESSON, *slots, words, raw
        part = np.int64(first), np.int64(self._at)
        return int(neural.walk(mode, *block, *streams, self._scratch, *part))


class Encoder(_Pass):
    """Makes parts of a block.

    Args:
        regression: what makes something of the block on the way; None if that is there, or nothing is made of it.
    """

    def __init__(self, sample: Sample, way: Way, regression: Regression | None = None) -> None:
        self._guesses, self._guessed = np.empty(0, np.int64), sample.q.size
        self._guessing: Iterator[int] = iter(())
        if regression is not None:
            self._guesses, self._guessed = np.zeros(sample.q.shape, np.int64), 0
            self._guessing = regression.guessing(sample.q, sample.coded, self._guesses)
            sample = replace(sample, made=self._guesses)
        super().__init__(sample, way)

    def _guess(self, values: int) -> None:
        """See to it that something is made of so many values."""
        while self._guessed < values:
            first, self._guessed = self._guessed, next(self._guessing)
            new = slice(first, self._guessed)
            made = Sample(self._q[new], self._coded[new], made=self._guesses.reshape(-1)[new])
            self._q[self._coded.size :][new], self._fine[new] = made.flat()[len(made.q) :], made.fine()

    def slots(self) -> Iterator[Slots]:
        """Of the values of each part; valid until the next."""
        kinds = np.uint32, np.uint32, np.uint64, np.int64
        starts, spans, rest, widths = (np.empty(self._room, kind) for kind in kinds)
        while not self.done:
            self._guess(min(self._at * self._channels + self._room, self._coded.size))
            n = self._go(neural.ENCODE, (starts, spans, rest, widths))
            yield starts[:n], spans[:n], rest[:n], widths[:n]

    def parts(self) -> Iterator[bytes]:
        """The stream, in parts."""
        for starts, spans, rest, widths in self.slots():
            stream = rans.join(neural.encode_spans(starts, spans), join_bits(rest, widths))
            yield rans.behind(stream, b"") if self._in_parts else stream


class Decoder(_Pass):
    """Fills a block with zeros for its values, part by part."""

    def take(self, data: bytes | memoryview) -> memoryview:
        """Decode the part that ``data`` begins with; returns the rest. Raises CorruptError."""
        stream, rest = rans.apart(data) if self._in_parts else (memoryview(data), memoryview(b""))
        words, raw = rans.split(stream)
        self._go(neural.DECODE, words=words, raw=raw)
        return rest

    @property
    def values(self) -> Array:
        """The int64 block; what was not coded is some value near it."""
        return self._q[: self._coded.size].reshape(self._shape)
