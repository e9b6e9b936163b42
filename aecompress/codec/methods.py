"""The ways to code a block, each with its two directions side by side.

* ``context``      lattice integers, coded by the context model
* ``conv``         the same, and a convolution that tells where in its cell each value was
* ``autoencoder``  latents alone: what synthesis makes of them is the result
* ``joint``        latents, and lattice integers coded with the synthesis as a further context
* ``strided``      latents of a grid of cells alone, coded by the context model: what strided synthesis makes of them
* ``subbands``     quantised wavelet coefficients, and whole cells of correction where they miss the bound
* ``wavelet``      the same as models up to version 3 had it; only read
* ``plain``        lattice integers by delta, byte planes and zstd
* ``exact``        the values' bits by delta, byte planes and zstd
* ``columns``      the same with the row axis last: tables repeat themselves down their columns

All but the last two keep special values aside (``specials``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from aecompress import wavelet
from aecompress.autoencoder.convolution import FRACTION
from aecompress.codec import cells, specials
from aecompress.codec.cells import Cells
from aecompress.codec.latents import decode_latents, encode_latents
from aecompress.codec.specials import Specials
from aecompress.context.coder import Followed
from aecompress.entropy import bits, integers
from aecompress.errors import CorruptError, ModelError
from aecompress.lossless import MOST_ULPS, FigureLattice
from aecompress.metrics import distortion
from aecompress.quantize import (
    BitLattice,
    FixedLattice,
    FloatLattice,
    IntegerLattice,
    Lattice,
    exact_lattice,
    join_wide,
    safe_integers,
    split_wide,
)
from aecompress.spec import Array
from aecompress.subbands import CELL, MOST_CORRECTION, Subbands

if TYPE_CHECKING:
    from aecompress.codec.model import Model

Streams = dict[str, bytes]

#: Latents of a grid beyond this count as it.
MOST_LATENT = (1 << 20) - 1

# lattice integers below this leave room for the parts of a cell
_MOST_RESTORED = 1 << 48

#: zstd at its thorough level keeps more than this share of the bytes of a quick one. What it keeps of a part of so many
#: values tells the share for the whole, to within this factor.
_THOROUGH_SHARE = 0.55
_PART, _SAFETY = 1 << 15, 0.9


@dataclass
class Work:
    """A block on its way through the encoder: values, their lattice integers, and what is kept aside."""

    values: Array
    q: Array
    keep: Array
    cells: Cells
    bound: Array
    steps: Array | None
    further: Streams
    decoded: Array
    planes: dict[tuple[tuple[int, ...], bool], Array] = field(default_factory=dict)
    followed: Followed | None = None

    @cached_property
    def streams(self) -> Streams:
        """What goes beside the lattice integers; coded when asked for, as a search asks for errors alone mostly."""
        return {**cells.encode_steps(self.steps), **specials.encode(self.values, self.keep), **self.further}

    @cached_property
    def fine(self) -> Array:
        """The values in parts of a cell, which a transform takes: int64."""
        return self.finer.quantize(self.values)

    @cached_property
    def finer(self) -> FloatLattice:
        """The lattice of ``fine``."""
        return self.cells.finer(self.values.dtype, self.values.shape, self.steps, CELL)

    def filled(self, subbands: Subbands) -> Array:
        """What a transform in this order of the axes sees of ``fine``: a search tries many that see the same."""
        kind = subbands.order, subbands.of_lines
        if kind not in self.planes:
            self.planes[kind] = subbands.filled(self.fine, self.keep)
        return self.planes[kind]


def prepare(model: Model, values: Array) -> Work | None:
    """Quantise a block; None if its values do not fit a lattice and must be coded exactly."""
    bound, steps = model.cells.bounds(values, model.fills)
    lattice = model.cells.lattice(values.dtype, values.shape, steps)
    if isinstance(lattice, IntegerLattice) and not safe_integers(values, lattice.step):
        return None
    q = lattice.quantize(values)
    rest, decoded = np.zeros(0, np.uint64), lattice.dequantize(q)
    if isinstance(lattice, FixedLattice):
        rest = lattice.remainders(values)
        decoded = lattice.restore(q, rest)
    ulps = np.zeros(0, np.int64)
    if isinstance(lattice, FigureLattice):
        ulps = lattice.ulps(values, decoded)
        decoded = lattice.moved(decoded, np.where(ulps > MOST_ULPS, 0, ulps))
    keep = np.ones(values.shape, bool)
    if not isinstance(lattice, BitLattice):
        keep = specials.ordinary(values, model.fills) & specials.within(values, decoded, bound)
        if isinstance(lattice, FloatLattice) and model.thrift:
            q = _thrifty(model, values, q, keep)
            decoded = lattice.dequantize(q)
        decoded = np.where(keep, decoded, values)
    further = {}
    if isinstance(lattice, FixedLattice):
        further["rest"] = bits.pack(rest[keep], lattice.widths(q[keep]))
    if (ulps := np.where(keep, ulps, 0) if len(ulps) else ulps).any():
        further["ulps"] = integers.encode(ulps, axes=())
    return Work(values, q, keep, model.cells, bound, steps, further, decoded)


def _thrifty(model: Model, values: Array, q: Array, keep: Array) -> Array:
    """Lattice integers that trade error for bits as the model wants; only where there is no bound to keep."""
    coder, step = model.prices or model.context, model.cells.step
    if coder is None or step is None or np.abs(q).max(initial=0) >= _MOST_RESTORED:
        return q
    wanted = np.where(keep, values, 0).astype(np.float64) / step
    return coder.thrifty(wanted, q, keep, model.thrift)


def _lattice(model: Model, streams: Streams, shape: tuple[int, ...]) -> Lattice:
    return model.cells.lattice(model.spec.native, shape, cells.decode_steps(streams, shape[0]))


def _apart(model: Model, streams: Streams, shape: tuple[int, ...]) -> Specials:
    return Specials.decode(streams, shape, model.spec.native)


def _finish(lattice: Lattice, q: Array, streams: Streams, apart: Specials) -> Array:
    """Lattice integers to values, special values put back."""
    if isinstance(lattice, FixedLattice):
        decoded = _restore(lattice, np.where(apart.keep, q, 0), streams)
    else:
        decoded = lattice.dequantize(q)
    if "ulps" in streams:
        decoded = _moved(lattice, decoded, streams["ulps"])
    return apart.put_back(decoded)


def _moved(lattice: Lattice, decoded: Array, stream: bytes) -> Array:
    """Values moved by the ulps that their text was read wrong by."""
    ulps = integers.decode(stream, most=decoded.size)
    if not isinstance(lattice, FigureLattice) or ulps.shape != decoded.shape or np.abs(ulps).max() > MOST_ULPS:
        raise CorruptError("A block's values are moved by impossible ulps; the archive is damaged.")
    return lattice.moved(decoded, ulps)


def _restore(lattice: FixedLattice, q: Array, streams: Streams) -> Array:
    """Values of fixed-point integers, 0 where there is none, and of the bits below them."""
    widths = lattice.widths(q)
    return lattice.restore(q, bits.unpack(streams["rest"], widths.reshape(-1)).reshape(q.shape))


def encode_context(model: Model, work: Work, *, follow: bool = False) -> Streams:
    """With ``follow`` the work tells afterwards what a decoder makes of the lattice integers."""
    if model.context is None:
        raise CorruptError("The model has no context coder.")
    q, low = split_wide(work.q)
    wide = {} if low is None else {"wide": integers.encode(low.astype(np.int64), level=integers.QUICK, axes=())}
    if follow:
        work.followed = model.context.followed(q, work.keep)
    stream = work.followed.stream if work.followed else model.context.encode(q, work.keep)
    return {**work.streams, **wide, "correction": stream}


def decode_context(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    q, apart = _decode_lattice(model, streams, shape)
    return _finish(_lattice(model, streams, shape), q, streams, apart)


def _decode_lattice(model: Model, streams: Streams, shape: tuple[int, ...]) -> tuple[Array, Specials]:
    """(lattice integers int64, special values) of a block that the context model coded."""
    if model.context is None:
        raise CorruptError("A block needs a context coder that the model does not have; the archive is damaged.")
    apart = _apart(model, streams, shape)
    q = model.followed.decode(streams["correction"], apart.keep) if model.followed else None
    if q is None:
        q = model.context.decode(streams["correction"], apart.keep)
    low = integers.decode(streams["wide"], most=q.size) if "wide" in streams else None
    return join_wide(q, low), apart


def restored(model: Model, work: Work) -> Array | None:
    """What the convolution makes of a block; None where the plain cells are no worse."""
    if model.conv is None or np.abs(work.q).max(initial=0) >= _MOST_RESTORED:
        return None
    estimate = model.conv.estimate(np.where(work.keep, work.q, 0), work.keep)
    decoded = np.where(work.keep, _parted(model).dequantize(estimate), work.values)
    return decoded if distortion(work.values, decoded).rmse < distortion(work.values, work.decoded).rmse else None


def outcome(model: Model, work: Work) -> Array:
    """What the values of a block on its lattice come back as."""
    if model.subbands is not None:
        found = _transformed(model, work)
        return work.decoded if found is None else found.decoded
    decoded = restored(model, work)
    return work.decoded if decoded is None else decoded


def decode_conv(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    if model.conv is None:
        raise CorruptError("A block needs a convolution that the model does not have; the archive is damaged.")
    q, apart = _decode_lattice(model, streams, shape)
    estimate = model.conv.estimate(np.where(apart.keep, q, 0), apart.keep)
    return _finish(_parted(model), estimate, streams, apart)


def _parted(model: Model) -> FloatLattice:
    """The lattice of the convolution's estimates: 2^-FRACTION of a cell."""
    if model.cells.step is None or model.cells.axis is not None:
        raise CorruptError("A block needs a convolution, but its cells differ in width; the archive is damaged.")
    return model.cells.finer(model.spec.native, (), None, 1 << FRACTION)


def encode_plain(work: Work, least: float) -> Streams | None:
    """None where that is far above ``least`` bytes, as in the two that follow."""
    correction = _smallest(np.where(work.keep, work.q, 0), least)
    return None if correction is None else {**work.streams, "correction": correction}


def decode_plain(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    q = integers.decode(streams["correction"], most=int(np.prod(shape))).reshape(shape)
    return _finish(_lattice(model, streams, shape), q, streams, _apart(model, streams, shape))


def encode_exact(values: Array, least: float) -> Streams | None:
    correction = _smallest(_patterns(values), least)
    return None if correction is None else {"correction": correction}


def decode_exact(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    return _values(model, integers.decode(streams["correction"], most=int(np.prod(shape))).reshape(shape))


def encode_columns(values: Array, least: float) -> Streams | None:
    correction = _smallest(np.moveaxis(_patterns(values), 0, -1), least)
    return None if correction is None else {"correction": correction}


def decode_columns(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    q = integers.decode(streams["correction"], most=int(np.prod(shape))).reshape(*shape[1:], shape[0])
    return _values(model, np.ascontiguousarray(np.moveaxis(q, -1, 0)))


def _patterns(values: Array) -> Array:
    """Any supported values as int64 without loss."""
    return exact_lattice(values.dtype).quantize(values)


def _values(model: Model, q: Array) -> Array:
    """Undo ``_patterns``."""
    return exact_lattice(model.spec.native).dequantize(q)


def _smallest(q: Array, least: float) -> bytes | None:
    """The delta axis by a quick trial on part of the block, then the thorough coder with it and without any.

    None where that would be far above ``least`` bytes: what a quick level makes of all of the block tells, and how much
    less the thorough one makes of the part.
    """
    longest = int(np.argmax(q.shape))
    length = max(1, q.shape[longest] * _PART // max(q.size, _PART))
    part = np.take(q, range(length), longest)
    axis = integers.best_axis(part)
    axes = () if axis is None else (axis,)
    quick = len(integers.encode(q, level=integers.QUICK, axes=axes))
    if _THOROUGH_SHARE * quick > least:
        return None
    share = len(integers.encode(part, axes=axes)) / len(integers.encode(part, level=integers.QUICK, axes=axes))
    return None if _SAFETY * share * quick > least else integers.encode(q, axes=axes)


def encode_autoencoder(model: Model, values: Array) -> tuple[Streams, Array]:
    """(streams, decoded values): latents alone, special values aside."""
    latents, keep = latents_of(model, values)
    stream = encode_latents(model.latent_coder, latents)
    return {"latents": stream, **specials.encode(values, keep)}, _made_of(model, latents, keep, values)


def decode_autoencoder(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    latents = decode_latents(model.latent_coder, streams["latents"], model.latent_shape(shape))
    return _apart(model, streams, shape).put_back(model.synthesise(latents, shape))


def latents_of(model: Model, values: Array) -> tuple[Array, Array]:
    """(latents of a block, of its rows [n, K], its places or its cells [N, ..., K]; keep bool)."""
    if model.strided is not None:
        return strided_latents(model, values)
    keep = specials.ordinary(values, model.fills)
    return model.quantize_latents(values, keep), keep


def strided_latents(model: Model, values: Array) -> tuple[Array, Array]:
    """(latents int64 [N, ..., K] of a block, keep bool); special values count as the middle of the others.

    A thrifty encoder asks twice what they cost: what the first latents miss, the second make good.
    """
    patches = model.patches
    if patches is None or model.pace is None:
        raise ModelError("This model can only decode; use the model file that `aecompress fit` wrote.")
    keep = specials.ordinary(values, model.fills)
    known = np.where(keep, values, patches.centre)
    latents = _rounded(model, patches.analysis(known) / model.pace)
    if model.thrift:
        latents = _rounded(model, patches.nearer(known, latents * model.pace) / model.pace)
    return latents, keep


def _rounded(model: Model, levels: Array) -> Array:
    """Latents int64 [N, ..., K] of those in steps: the nearest, or what thrift makes of them."""
    q = np.clip(np.rint(levels), -MOST_LATENT, MOST_LATENT).astype(np.int64)
    if not model.thrift or model.patches is None or model.prices is None:
        return q
    gains = model.patches.gains
    return model.prices.thrifty(levels, q, np.ones(q.shape, bool), model.thrift, gains / gains.max())


def latents_outcome(model: Model, values: Array) -> Array:
    """What a block of latents alone comes back as."""
    return _made_of(model, *latents_of(model, values), values)


def _made_of(model: Model, latents: Array, keep: Array, values: Array) -> Array:
    """What latents of a block come back as, special ``values`` where ``keep`` is not set."""
    if model.strided is not None:
        return np.where(keep, _strided_values(model, latents, values.shape), values)
    return np.where(keep, model.synthesise(latents, values.shape, model.device), values)


def encode_strided(model: Model, values: Array) -> tuple[Streams, Array]:
    """(streams, decoded values): latents alone, special values aside."""
    if model.context is None:
        raise CorruptError("The model has no context coder.")
    latents, keep = strided_latents(model, values)
    stream = model.context.encode(latents, np.ones(latents.shape, bool))
    return {"latents": stream, **specials.encode(values, keep)}, _made_of(model, latents, keep, values)


def decode_strided(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    if model.strided is None or model.context is None:
        raise CorruptError("A block needs a strided network that the model does not have; the archive is damaged.")
    cells = (*model.strided.grid.cells(shape), model.strided.latents)
    latents = model.context.decode(streams["latents"], np.ones(cells, bool))
    return _apart(model, streams, shape).put_back(_strided_values(model, latents, shape))


def _strided_values(model: Model, latents: Array, shape: tuple[int, ...]) -> Array:
    if model.strided is None:
        raise CorruptError("The model has no strided network.")
    return model.strided.network.values(model.strided.synthesis(latents, shape), model.spec.native)


def encode_joint(model: Model, work: Work) -> Streams:
    if model.joint is None:
        raise CorruptError("The model has no joint coder.")
    latents = model.quantize_latents(work.values, work.keep)
    reference = model.reference(latents, work.values.shape, model.device)
    correction = model.joint.encode(work.q, work.keep, reference)
    return {**work.streams, "latents": encode_latents(model.prior, latents), "correction": correction}


def decode_joint(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    if model.joint is None:
        raise CorruptError("A block needs a joint coder that the model does not have; the archive is damaged.")
    latents = decode_latents(model.prior, streams["latents"], (shape[0], model.latent_dim))
    apart = _apart(model, streams, shape)
    q = model.joint.decode(streams["correction"], apart.keep, model.reference(latents, shape))
    return _finish(_lattice(model, streams, shape), q, streams, apart)


def encode_subbands(model: Model, work: Work) -> tuple[Streams, Array] | None:
    """(streams, decoded values); None if the block cannot be transformed."""
    found = _transformed(model, work)
    if model.subbands is None or found is None:
        return None
    streams = {
        "coefficients": model.subbands.encode(found.quantized, found.missing, found.estimate, found.keep),
        **cells.encode_steps(work.steps),
        **specials.encode(work.values, found.keep),
    }
    return streams, found.decoded


@dataclass(frozen=True)
class _Transformed:
    """A block as subbands and what they miss, as ``Subbands.encode`` takes them, and what it comes back as."""

    quantized: Array
    missing: Array
    estimate: Array
    keep: Array
    decoded: Array


def _transformed(model: Model, work: Work) -> _Transformed | None:
    """None if some values are too large to be transformed, or some cells too narrow to be cut up."""
    if model.subbands is None:
        raise CorruptError("The model has no subbands.")
    lattice = work.finer
    if not lattice.step.all():
        return None
    fine, bound = work.fine, work.bound
    quantized = model.subbands.forward(work.filled(model.subbands), fine.shape)
    if quantized is None:
        return None
    estimate = model.subbands.inverse(quantized, work.values.shape)
    decoded = lattice.dequantize(estimate)
    off = work.keep & ~specials.within(work.values, decoded, bound)
    missing, keep = np.zeros(estimate.shape, np.int64), work.keep.copy()
    some = FloatLattice(lattice.dtype, np.broadcast_to(lattice.step, off.shape)[off])
    away = (fine[off] - estimate[off]) / CELL
    moved = (np.sign(away) * np.maximum(np.rint(np.abs(away)), 1.0)).astype(np.int64)
    moved *= np.abs(moved) <= MOST_CORRECTION
    decoded[off] = some.dequantize(estimate[off] + moved * CELL)
    keep[off] = specials.within(work.values[off], decoded[off], np.broadcast_to(bound, off.shape)[off])
    missing[off] = moved * keep[off]
    return _Transformed(quantized, missing, estimate, keep, np.where(keep, decoded, work.values))


def decode_subbands(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    if model.subbands is None:
        raise CorruptError("A block needs subbands that the model does not have; the archive is damaged.")
    apart = _apart(model, streams, shape)
    lattice = model.cells.finer(model.spec.native, shape, cells.decode_steps(streams, shape[0]), CELL)
    return _finish(lattice, model.subbands.decode(streams["coefficients"], apart.keep), streams, apart)


def decode_wavelet(model: Model, streams: Streams, shape: tuple[int, ...]) -> Array:
    if model.wavelet is None or model.coefficients is None or model.rest is None or model.cells.axis is not None:
        raise CorruptError("A block needs a wavelet that the model does not have; the archive is damaged.")
    apart = _apart(model, streams, shape)
    estimate = model.wavelet.inverse(model.coefficients.decode(streams["coefficients"], np.ones(shape, bool)))
    correction = model.rest.decode(streams["correction"], apart.keep)
    lattice = model.cells.finer(model.spec.native, shape, None, wavelet.CELL)
    return _finish(lattice, estimate + correction * wavelet.CELL, streams, apart)


DECODERS: dict[str, Callable[[Model, Streams, tuple[int, ...]], Array]] = {
    "context": decode_context,
    "autoencoder": decode_autoencoder,
    "joint": decode_joint,
    "conv": decode_conv,
    "strided": decode_strided,
    "subbands": decode_subbands,
    "wavelet": decode_wavelet,
    "plain": decode_plain,
    "exact": decode_exact,
    "columns": decode_columns,
}
