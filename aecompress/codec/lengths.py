"""What values cost: the bits that a model gives to each value of rows it has decoded.

    values ─► lattice integers ─► context model ─► table and token of each ─► -log2 of the token's share + raw bits
                      └─► without a context model: second differences ─► bits of their Elias gamma code

Nothing of this is stored: what was decoded is cut into the same cells again and described to the same model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aecompress.codec import methods
from aecompress.context.coder import ContextModel
from aecompress.context.sample import Sample
from aecompress.entropy.tokens import fold, tokenized
from aecompress.quantize import split_wide
from aecompress.spec import Array

if TYPE_CHECKING:
    from aecompress.codec.model import Model


def code_lengths(model: Model, values: Array, latents: Array | None = None) -> Array | None:
    """float32 [rows, *row_shape], bits of each value; values kept aside cost as many bits as they have.

    Where the model has no context coder (smooth fields, say, are coded as wavelet coefficients), it is the bits of what
    a straight line through the two values before misses.

    Args:
        model: of an archive.
        values: rows [n, *row_shape] in its dtype, n >= 1; the bits of each depend on those before it. A model that
            learns while it codes what rows are like is taken to know that from the first row on.
        latents: int32 [n, K], what their payload held beside them.

    Returns:
        None if the values do not fit the model's cells, or latents are all it codes, or it codes a set at once and this
        is a part.
    """
    if model.turned not in (0, len(values)):
        return None
    if model.network is not None and not model.target.bounded:
        return None
    rows = len(values)
    values = model.as_coded(values)
    work = methods.prepare(model, values)
    if work is None:
        return None
    q, _ = split_wide(work.q)
    if model.joint is not None and latents is not None:
        found = model.joint.lengths(Sample(q, work.keep, model.reference(latents, values.shape)))
    elif model.context is not None:
        found = _learned(model.context, Sample(q, work.keep))
    else:
        found = _gamma(np.where(work.keep, q, 0))
    found[~work.keep] = 8 * values.dtype.itemsize
    return model.as_came(found).reshape(rows, *model.spec.row_shape)


def _learned(coder: ContextModel, sample: Sample) -> Array:
    """Bits of a block's values; where the coder learns what rows are like, as if it had coded the block before."""
    if coder.regression is None or coder.regression.factor is not None:
        return coder.lengths(sample)
    twice = Sample(np.concatenate([sample.q, sample.q]), np.concatenate([sample.coded, sample.coded]))
    return coder.lengths(twice)[len(sample.q) :]


def _gamma(q: Array) -> Array:
    """float32, bits of the Elias gamma code of second differences along the last axis; the first two count as 0."""
    step = np.diff(np.diff(q.astype(np.float64), axis=-1), axis=-1)
    found = np.ones(q.shape, np.float32)
    found[..., 2:] += 2 * np.log2(1 + np.abs(step))
    return found


def latent_lengths(model: Model, latents: Array) -> Array | None:
    """float32 [n, K], bits of each of latents int32 [n, K]; None if the model has no coder for them."""
    coder, values = model.latent_coder, np.ascontiguousarray(latents, np.int64)
    if coder is None:
        return None
    if isinstance(coder, ContextModel):
        return coder.lengths(Sample(values, np.ones(values.shape, bool)))
    tokens = tokenized(fold(values))
    found: Array = coder.prices[np.arange(values.shape[1]), tokens].astype(np.float32)
    return found
