"""Latents to stream and back: each channel has a frequency table of its own, its prior, or a context model knows what
the latents before tell.
"""

from __future__ import annotations

import math

import numpy as np

from aecompress.context.coder import ContextModel
from aecompress.entropy import rans
from aecompress.entropy.tables import Tables
from aecompress.entropy.tokens import ALPHABET, fold, raw_width, token_floor, tokenized
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: What codes latents.
Coder = Tables | ContextModel

# of a token: bits that follow, and the least integer
_PARTS = (raw_width, token_floor)


def fit_prior(latents: Array) -> Tables:
    """Tables [K] of ``latents`` int32 [n, K]."""
    channels = latents.shape[1]
    tokens = tokenized(fold(np.ascontiguousarray(latents, np.int64)))
    counts = np.stack([np.bincount(tokens[:, k], minlength=ALPHABET) for k in range(channels)])
    return Tables.from_counts(counts)


def thrifty(prior: Tables, levels: Array, q: Array, price: float) -> Array:
    """Latents that trade error for bits: each rounded to ``q``, one nearer zero, or zero, whatever costs least.

    Args:
        prior: what they will be coded with.
        levels: float64 [n, K], latents in steps.
        q: int32 [n, K], the same rounded.
        price: squared error, in steps, that a bit is worth.
    """
    prices = price * prior.prices
    best, least = q, _cost(prices, levels, q)
    for rival in (q - np.sign(q), np.zeros_like(q)):
        cost = _cost(prices, levels, rival)
        best, least = np.where(cost < least, rival, best), np.minimum(cost, least)
    return best


def _cost(prices: Array, levels: Array, q: Array) -> Array:
    tokens = tokenized(fold(np.ascontiguousarray(q, np.int64)))
    cost: Array = np.square(levels - q) + prices[np.arange(q.shape[1]), tokens]
    return cost


def encode_latents(coder: Coder | None, latents: Array) -> bytes:
    """Stream of ``latents`` int32 [..., K]."""
    values = np.ascontiguousarray(latents, np.int64)
    if isinstance(coder, ContextModel):
        return coder.encode(values, np.ones(values.shape, bool))
    return rans.encode(values.reshape(-1), _contexts(coder, latents.shape), _known(coder))


def decode_latents(coder: Coder | None, data: bytes, shape: tuple[int, ...]) -> Array:
    """int32 of this shape [..., K]: undo ``encode_latents``."""
    if isinstance(coder, ContextModel):
        values = coder.decode(data, np.ones(shape, bool))
    else:
        values = rans.decode(data, _contexts(coder, shape), _known(coder))
    return np.clip(values, -(2**31) + 1, 2**31 - 1).astype(np.int32).reshape(shape)


def draw_latents(prior: Tables | None, rows: int, rng: np.random.Generator) -> Array:
    """int32 [rows, K] as likely as ``prior`` says."""
    columns = [_drawn(table, rows, rng) for table in np.diff(_known(prior).cumulative.astype(np.int64), axis=1)]
    return np.stack(columns, axis=1)


def _drawn(frequency: Array, count: int, rng: np.random.Generator) -> Array:
    """int32 [count] of a table's tokens, the escape left out, with raw bits at random."""
    chances = frequency[:-1] / frequency[:-1].sum()
    drawn = rng.choice(len(chances), count, p=chances)
    widths, floors = (np.array([part(token) for token in range(len(chances))], np.int64) for part in _PARTS)
    folded = floors[drawn] + (rng.random(count) * (np.int64(1) << widths[drawn])).astype(np.int64)
    return np.clip((folded >> 1) ^ -(folded & 1), -(2**31) + 1, 2**31 - 1).astype(np.int32)


def _contexts(prior: Tables | None, shape: tuple[int, ...]) -> Array:
    return np.tile(np.arange(len(_known(prior).levels), dtype=np.uint16), math.prod(shape[:-1]))


def _known(prior: Tables | None) -> Tables:
    if prior is None:
        raise CorruptError("A block holds latents, but the model has no prior for them; the archive is damaged.")
    return prior
