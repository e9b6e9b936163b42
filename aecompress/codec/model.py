"""Everything learned about a set, and the coder of one block that it makes."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress import tensorfile
from aecompress.abreast import WORKERS
from aecompress.autoencoder.convolution import Convolution
from aecompress.autoencoder.integer import IntegerNetwork
from aecompress.autoencoder.striding import Strided
from aecompress.codec import methods, specials
from aecompress.codec.cells import Cells
from aecompress.codec.frame import Frame
from aecompress.codec.latents import Coder, decode_latents, draw_latents, thrifty
from aecompress.config import Target
from aecompress.context.coder import ContextModel, Followed
from aecompress.entropy import integers, record
from aecompress.entropy.tables import Tables
from aecompress.errors import CorruptError, InputError, ModelError, VerificationError, VersionError
from aecompress.metrics import Distortion, Similarity, distortion, similarity
from aecompress.spec import Array, ArraySpec
from aecompress.subbands import Subbands
from aecompress.wavelet import Wavelet

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder
    from aecompress.autoencoder.strided import StridedAutoencoder

#: Version of the model file.
VERSION = 19

#: How far away neighbours could be before version 9.
_NEAR = 16

#: Metadata of models that are not for packing.
_TASK = "aecompress-task"

#: Context coders a model may hold.
_CODERS = ("context", "joint", "coefficients", "rest")

#: A block that costs this many times what blocks cost at the fit is tried in the simple ways too.
_SUSPICIOUS = 3.0

#: Share of the raw bytes that no way without loss comes near, where another way goes below it.
_LITTLE = 1 / 8


@dataclass(frozen=True)
class Encoded:
    """A block that is yet to be checked: its values as they are coded, its payload, and what that should decode to.

    Where a decoder went along, ``followed`` is what it found.
    """

    values: Array
    payload: bytes
    method: str
    expected: Array
    followed: Followed | None


@dataclass(frozen=True)
class Coded:
    """What one block became: the payload, the method that won, and the error of its reconstruction.

    The similarity of its rows is known where the target is a cosine.
    """

    payload: bytes
    method: str
    distortion: Distortion
    similarity: Similarity | None = None


@dataclass(frozen=True)
class Reference:
    """Integers that turn the synthesis into lattice units: (z >> drop) * scale >> shift.

    Attributes:
        scale: int64 [D] or [1], below 2^31.
    """

    scale: Array
    drop: int
    shift: int


@dataclass(frozen=True)
class Model:
    """Codes blocks of rows of one dtype and row shape: ``compress`` and ``decompress``.

    Attributes:
        spec: dtype and row shape it was fitted for.
        view: the shape that rows are coded in, of as many values, where it is another: flat pictures, say.
        turned: rows of a block, all there are, where their axis is coded as the last one, behind those of the view; 0
            elsewhere. So what a place has in all rows lies together: the bands of a pixel, say.
        kind: the autoencoder family member, or ``none``.
        target: what it was fitted to reach.
        cells: lattices of blocks.
        fills: values of the spec's dtype that come back exactly.
        rate: bits a value that blocks took at the fit; 0 where the simple ways rival the model, so that each block
            tries them.
        simple: share of the raw bytes that the simple ways took at the fit: what the model is up against.
        context: coder of lattice integers alone, if that is a candidate; of the latents where they are all there is.
        conv: what tells where in its cell a value was, from its neighbours; where there is no bound.
        network: integer synthesis, if there is an autoencoder: of rows, or of places, the last axis of rows.
        prior: tables of its latents: what codes them beside ``joint``, and alone where there is no ``context``; what
            tells a thrifty encoder what they cost, and what rows are drawn from.
        joint: coder of lattice integers beside latents, if that is a candidate.
        lens: how ``joint`` sees the synthesis.
        strided: integer synthesis of a grid of latents; then there is no other candidate.
        subbands: the transform of smooth fields and its coder, if that is a candidate.
        wavelet: the transform of models up to version 3, with coders of its ``coefficients`` and of the ``rest``.
        encoder: the analysis side; needed to compress with an autoencoder, never in an archive.
        steps: float64 [K], the latents' quantisation steps; with the encoder.
        patches: the analysis side of ``strided``; needed to compress with it, never in an archive.
        pace: step of its latents, in those it was trained with.
        thrift: squared error, in cells or in steps of latents, that a bit is worth to the encoder; 0 rounds to the
            nearest.
        prices: what tells a thrifty encoder what integers cost, where ``context`` has a network and no tables or codes
            latents of ``strided``; never in an archive.
        about: what it was fitted on, for people.
        in_blocks: latents that blocks hold of a row, where the network takes but the first of them; never in a file.
        device: what computes the autoencoder while blocks are coded, a name of torch; they are checked, and decoded, by
            the CPU. Never in a file.
        known_as: the identity a stored model came with: another machine's zstd might not write the same bytes again.
        followed: what a decoder has made of a block while that was coded, to check it by. Never in a file.
    """

    spec: ArraySpec
    kind: str
    target: Target
    cells: Cells
    fills: Array
    rate: float = 0.0
    simple: float = 1.0
    view: tuple[int, ...] = ()
    turned: int = 0
    context: ContextModel | None = None
    conv: Convolution | None = None
    network: IntegerNetwork | None = None
    prior: Tables | None = None
    joint: ContextModel | None = None
    lens: Reference | None = None
    strided: Strided | None = None
    subbands: Subbands | None = None
    wavelet: Wavelet | None = None
    coefficients: ContextModel | None = None
    rest: ContextModel | None = None
    encoder: Autoencoder | None = None
    steps: Array | None = None
    patches: StridedAutoencoder | None = None
    pace: float | None = None
    thrift: float = 0.0
    prices: ContextModel | None = None
    about: dict[str, Any] = field(default_factory=dict)
    in_blocks: int | None = None
    device: str = "cpu"
    known_as: bytes | None = None
    followed: Followed | None = None

    # --- one block ----------------------------------------------------------------------------------------------

    def compress(self, batch: Array) -> bytes:
        """Payload of a batch [n, *row_shape]; decodes with this model alone.

        Raises ModelError if the batch has another dtype or row shape than the model was fitted for, or is not all of a
        set that it codes at once.
        """
        return self.code(batch).payload

    def code(self, batch: Array) -> Coded:
        """Compress a batch by the cheapest method and decode it as a reader will, to be sure of its error."""
        return self.checked(self.encoded(batch))

    def encoded(self, batch: Array) -> Encoded:
        """Compress a batch by the cheapest method. Raises ModelError as ``compress`` does."""
        values = self.as_coded(batch)
        work = self._prepared(values)
        best, expected = self._best(values, work)
        return Encoded(values, best.to_bytes(self.identity), best.method, expected, work.followed if work else None)

    def checked(self, block: Encoded) -> Coded:
        """Decode a block as a reader will. Raises VerificationError if that is not what was encoded."""
        followed = block.followed
        reader = replace(self, followed=followed, known_as=self.identity) if followed else self
        decoded = reader._decoded(block.payload)
        if not _same(decoded, block.expected):
            raise VerificationError(
                "A block did not decode to what was encoded; this is a defect of aecompress: please report it."
            )
        if self.target.bounded and not self.holds(block.values, decoded):
            raise VerificationError(
                "A value came back outside the bound; this is a defect of aecompress: please report it."
            )
        similar = similarity(block.values, decoded) if self.target.kind == "cosine" else None
        return Coded(block.payload, block.method, distortion(block.values, decoded), similar)

    def decompress(self, payload: bytes) -> Array:
        """The batch of a payload. Raises CorruptError if the payload is damaged or of another model."""
        decoded = self.as_came(self._decoded(payload))
        return decoded.reshape(len(decoded), *self.spec.row_shape)

    def _decoded(self, payload: bytes) -> Array:
        """The same in the shape that rows are coded in."""
        frame = Frame.from_bytes(payload, self.identity)
        if self.turned not in (0, frame.rows):
            raise CorruptError(f"A block has {frame.rows} rows, not all {self.turned}; the archive is damaged.")
        lines = self._row_shape[0] if self.turned else frame.rows
        shape = (lines, *self.coded_shape)
        if frame.rows * self.spec.row_size == 0:
            return np.zeros(shape, self.spec.native)
        try:
            return methods.DECODERS[frame.method](self, frame.streams, shape)
        except (KeyError, ValueError, IndexError, OverflowError) as err:
            raise CorruptError("A block's streams do not fit together; the archive is damaged.") from err

    def holds(self, values: Array, decoded: Array) -> bool:
        """True if each value is within the bound of this model, or came back bit for bit."""
        bound, _ = self.cells.bounds(values, self.fills)
        apart = ~specials.within(values, decoded, bound) | ~specials.ordinary(values, self.fills)
        return _same(values[apart], decoded[apart])

    def as_coded(self, batch: Array) -> Array:
        """A batch in the shape that it is coded in. Raises ModelError if it is not what the model was fitted for."""
        values = np.asarray(batch)
        shapes = (self.spec.row_shape, self._row_shape)
        if values.dtype.newbyteorder("=") != self.spec.native or values.shape[1:] not in shapes:
            raise ModelError(
                f"The model was fitted for rows of shape {self.spec.row_shape} and dtype {self.spec.native}, "
                f"not {values.shape[1:]} and {values.dtype}: fit a model for this source."
            )
        shaped = np.ascontiguousarray(values, self.spec.native).reshape(len(values), *self._row_shape)
        if not self.turned:
            return shaped
        if len(values) != self.turned:
            raise ModelError(
                f"The model codes all {self.turned} rows of a set at once, not {len(values)}: give it all of them, or "
                "fit one with the roles of the axes named (axes)."
            )
        return np.ascontiguousarray(np.moveaxis(shaped, 0, -1))

    def as_came(self, values: Array) -> Array:
        """Undo ``as_coded``, but for the view: rows first again."""
        return np.ascontiguousarray(np.moveaxis(values, -1, 0)) if self.turned else values

    @property
    def coded_shape(self) -> tuple[int, ...]:
        """The shape of a row as it is coded."""
        return (*self._row_shape[1:], self.turned) if self.turned else self._row_shape

    @property
    def _row_shape(self) -> tuple[int, ...]:
        """The shape that a row is read in, before its axis is moved."""
        return self.view or self.spec.row_shape

    def estimate(self, batch: Array) -> int:
        """Bytes that the learned candidates make of a batch; nothing is checked and the simple ways are left out."""
        values = self.as_coded(batch)
        return min((frame.size for frame, _ in self._learned(values, self._prepared(values))), default=values.nbytes)

    def error(self, batch: Array) -> Distortion:
        """Error of the smallest learned candidate of a batch; nothing is checked."""
        values = self.as_coded(batch)
        found = self._learned(values, self._prepared(values))
        return distortion(values, min(found, key=lambda pair: pair[0].size)[1]) if found else Distortion()

    def _frame(self, method: str, values: Array, streams: methods.Streams) -> Frame:
        """Of a block as it is coded; it says how many rows came."""
        return Frame(method, self.turned or len(values), streams)

    def _best(self, values: Array, work: methods.Work | None) -> tuple[Frame, Array]:
        """The smallest frame of the candidates, and what it decodes to."""
        if not values.size:
            return self._frame("exact", values, {}), values
        # a decoder that follows is of no use on a single core, and where another candidate may win
        learned = self.context is not None and self.context.network is not None
        follow = WORKERS > 1 and learned and self.joint is None and self.subbands is None
        found = self._learned(values, work, follow=follow)
        size = min((frame.size for frame, _ in found), default=math.inf)
        if not found or size > _SUSPICIOUS * self.rate * values.size / 8 + 512:
            found += self._no_worse(self._simple(values, work, size), values, found)
        return min(found, key=lambda pair: pair[0].size)

    def _no_worse(
        self, rivals: list[tuple[Frame, Array]], values: Array, found: list[tuple[Frame, Array]]
    ) -> list[tuple[Frame, Array]]:
        """The rivals that keep the bound, or where there is none have no greater error than what was found.

        Cells that a convolution makes good for are wider than the target allows without it.
        """
        if self.target.bounded or not found:
            return rivals
        most = max(distortion(values, decoded).sse for _, decoded in found)
        return [pair for pair in rivals if distortion(values, pair[1]).sse <= most]

    @property
    def latents_alone(self) -> bool:
        """True if there is an autoencoder and no bound: the cells then mean nothing."""
        return self.strided is not None or (self.network is not None and not self.target.bounded)

    def _prepared(self, values: Array) -> methods.Work | None:
        """The block on its lattice; None if it is empty or fits none, or if latents alone are to reach the target."""
        return None if self.latents_alone or not values.size else methods.prepare(self, values)

    def _learned(self, values: Array, work: methods.Work | None, *, follow: bool = False) -> list[tuple[Frame, Array]]:
        """The candidates that the model has: (frame, what it decodes to).

        With ``follow`` a decoder of lattice integers alone goes along while they are coded.
        """
        found: list[tuple[Frame, Array]] = []
        if work is not None and self.context is not None:
            streams, decoded = methods.encode_context(self, work, follow=follow), methods.restored(self, work)
            name = "context" if decoded is None else "conv"
            found.append((self._frame(name, values, streams), work.decoded if decoded is None else decoded))
        if work is not None and self.joint is not None:
            found.append((self._frame("joint", values, methods.encode_joint(self, work)), work.decoded))
        if work is not None and self.subbands is not None and (coded := methods.encode_subbands(self, work)):
            found.append((self._frame("subbands", values, coded[0]), coded[1]))
        if self.strided is not None:
            streams, decoded = methods.encode_strided(self, values)
            found.append((self._frame("strided", values, streams), decoded))
        if self.network is not None and self.latents_alone:
            streams, decoded = methods.encode_autoencoder(self, values)
            found.append((self._frame("autoencoder", values, streams), decoded))
        return found

    def simplest(self, batch: Array) -> int:
        """Bytes that the candidates without a model make of a batch."""
        values = self.as_coded(batch)
        return min(frame.size for frame, _ in self._simple(values, self._prepared(values)))

    def _simple(self, values: Array, work: methods.Work | None, least: float = math.inf) -> list[tuple[Frame, Array]]:
        """The candidates that need no model, for blocks unlike those it was fitted to; not those that a quick trial
        finds far above ``least`` bytes.

        Where little is left of a block, no way without loss, which takes long to try, comes near that.
        """
        found: list[tuple[Frame, Array]] = []
        if work is not None and (streams := methods.encode_plain(work, least)):
            found.append((self._frame("plain", values, streams), work.decoded))
            least = min(least, found[-1][0].size)
        if least < _LITTLE * values.nbytes:
            return found
        if streams := methods.encode_exact(values, least):
            found.append((self._frame("exact", values, streams), values))
        if self.cells.most == 0 and values.ndim > 1 and (streams := methods.encode_columns(values, least)):
            found.append((self._frame("columns", values, streams), values))
        return found

    # --- latents ------------------------------------------------------------------------------------------------

    def quantize_latents(self, values: Array, keep: Array) -> Array:
        """int32 [n, K] latents of a block, or [n, ..., K] of its places; special values count as the mean of their
        feature."""
        if self.encoder is None or self.steps is None:
            raise ModelError("This model can only decode; use the model file that `aecompress fit` wrote.")
        levels = self.encoder.analysis(self.encoder.rows(values, keep), self.device) / self.steps
        return self.round_latents(levels).reshape(self.latent_shape(values.shape))

    def round_latents(self, levels: Array) -> Array:
        """int32 [n, K] of latents in steps, float64 [n, K]: the nearest, or what thrift makes of it."""
        q = np.clip(np.rint(levels), -(2**20), 2**20).astype(np.int32)
        return thrifty(self.prior, levels, q, self.thrift) if self.thrift and self.prior is not None else q

    def embed(self, batch: Array) -> Array:
        """float32 [n, K]: quantised latents of a batch [n, *row_shape], in the units that the encoder has.

        Raises ModelError if there is no autoencoder of rows, or no encoder with it.
        """
        self.needs_rows()
        values = self.as_coded(batch)
        latents = self.quantize_latents(values, specials.ordinary(values, self.fills))
        return (latents * np.asarray(self.steps)).astype(np.float32)

    def latents(self, payload: bytes) -> Array | None:
        """int32 [n, K] latents of a payload; None if it was coded without, or holds those of places or cells.

        Raises CorruptError.
        """
        frame = Frame.from_bytes(payload, self.identity)
        if "latents" not in frame.streams or frame.method == "strided" or self.of_places:
            return None
        return decode_latents(self.latent_coder, frame.streams["latents"], (frame.rows, self.latent_dim))

    @property
    def latent_coder(self) -> Coder | None:
        """What codes latents: a context coder that has no lattice integers to code, else their tables."""
        return self.prior if self.context is None or self.joint is not None else self.context

    @property
    def latent_dim(self) -> int:
        """Latents that blocks hold of a row, or of a place, K. Raises CorruptError if there is no autoencoder."""
        if self.network is None:
            raise CorruptError("A block holds latents, but the model has no network for them; the archive is damaged.")
        return self.in_blocks or self.network.latent_dim

    @property
    def of_places(self) -> bool:
        """True if the autoencoder is one of the last axis that is coded, so that each place in rows has latents."""
        if self.network is None:
            return False
        return self.turned > 0 or len(self.network.offset) != math.prod(self.coded_shape)

    @property
    def name(self) -> str:
        """What people call the model: its kind, and whether that is one of places."""
        return f"{self.kind} of places" if self.of_places else self.kind

    def needs_rows(self) -> None:
        """Raise ModelError if the autoencoder is one of places."""
        if self.of_places:
            raise ModelError("The model's latents are of places in rows, not of rows: fit one with --model vanilla.")

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the latents of a block of this shape: [n, K], or [n, ..., K] of places."""
        return (*(shape[:-1] if self.of_places else shape[:1]), self.latent_dim)

    def truncated(self, latents: int) -> Model:
        """The decoder of the first ``latents`` latents of blocks coded as ``autoencoder``; the others count as 0.

        Raises InputError if the model makes no such blocks, or unless ``latents`` is 1 to their number.
        """
        if self.network is None or self.target.bounded:
            raise InputError("The model codes no latents alone, so it has one quality only: leave quality out.")
        most, whose = self.latent_dim, "place" if self.of_places else "row"
        if not 1 <= latents <= most:
            raise InputError(f"A quality of {latents} was asked for; each {whose} has {most}: name 1 to {most}.")
        network = self.network.truncated(latents)
        return replace(self.decoder(), network=network, in_blocks=most, known_as=self.identity)

    def synthesise(self, latents: Array, shape: tuple[int, ...], device: str = "cpu") -> Array:
        """Values of latents int32 [..., K], in the user's dtype; a truncated model takes its first ones."""
        if self.network is None:
            raise CorruptError("A block holds latents, but the model has no network for them; the archive is damaged.")
        flat = latents.reshape(-1, latents.shape[-1])
        z = self.network.synthesis(flat[:, : self.network.latent_dim], device)
        return self.network.values(z, self.spec.native).reshape(shape)

    def sample(self, rows: int, rng: np.random.Generator) -> Array:
        """Rows [rows, *row_shape] of latents drawn from the prior."""
        return self.synthesise(draw_latents(self.prior, rows, rng), (rows, *self.spec.row_shape))

    def reference(self, latents: Array, shape: tuple[int, ...], device: str = "cpu") -> Array:
        """The synthesis in lattice units, int64, integers only."""
        if self.network is None or self.lens is None:
            raise CorruptError("A block holds latents, but the model has no network for them; the archive is damaged.")
        z = self.network.synthesis(latents, device) >> self.lens.drop
        half = (1 << self.lens.shift) >> 1
        return ((z * self.lens.scale + half) >> self.lens.shift).reshape(shape)

    # --- file ---------------------------------------------------------------------------------------------------

    @cached_property
    def identity(self) -> bytes:
        """16 bytes that name the decoder: payloads are bound to it."""
        return self.known_as or hashlib.sha256(self._serialise(encoder=False, identity="")).digest()[:16]

    def decoder(self) -> Model:
        """The same model without its analysis side: what an archive holds."""
        bare = replace(self, encoder=None, steps=None, patches=None, pace=None, thrift=0.0, prices=None)
        return bare if self._keeps_prior else replace(bare, prior=None)

    @property
    def _keeps_prior(self) -> bool:
        """True if a decoder needs the tables of latents: to decode them, or to draw from them."""
        return self.latent_coder is self.prior or self.kind == "vae"

    def to_bytes(self, *, encoder: bool = False) -> bytes:
        """A safetensors file; with ``encoder`` the analysis side too, for packing with it later."""
        return self._serialise(encoder=encoder, identity=self.identity.hex())

    @property
    def _version(self) -> int:
        """The first version of the model file that can hold this model."""
        coders = [coder for coder in (self.context, self.joint) if coder is not None]
        if self.subbands is not None and self.subbands.spans:
            return VERSION
        if any(coder.part is not None for coder in coders):
            return 18
        if any(coder.regression is not None and coder.regression.prior <= 0 for coder in coders):
            return 17
        if any(coder.relations is not None for coder in coders):
            return 16
        if self.cells.phase is not None:
            return 15
        if self.subbands is not None and self.subbands.of_lines:
            return 14
        if any(coder.regression is not None for coder in coders):
            return 13
        if any(coder.network is not None and coder.network.traced for coder in coders):
            return 12
        if self.turned or self.of_places or (self.strided is not None and self.strided.grid.axes == 3):
            return 11
        if self.network is not None and self.latent_coder is not self.prior:
            return 10
        if any(coder.reach > _NEAR for coder in coders):
            return 9
        if self.strided is not None and self.strided.grid.axes == 1:
            return 8
        if self.cells.kind == "known" and not self.cells.lossless:
            return 7
        if self.view or self.strided is not None:
            return 6
        if self.cells.kind in ("figures", "known"):
            return 5
        if self.subbands is not None or any(coder.network is not None for coder in coders):
            return 4
        return 3 if self.conv is not None else 2 if self.cells.point else 1

    def _serialise(self, *, encoder: bool, identity: str) -> bytes:
        head, cells = self.cells.to_parts()
        meta: dict[str, Any] = {
            "version": self._version,
            "identity": identity,
            "spec": {"dtype": self.spec.native.str, "row_shape": list(self.spec.row_shape)},
            "kind": self.kind,
            "target": self.target.to_json(),
            "cells": head,
            "rate": round(self.rate, 4),
            "simple": round(self.simple, 4),
        }
        if self.view:
            meta["view"] = list(self.view)
        if self.turned:
            meta["turned"] = self.turned
        tensors = {f"cells.{name}": array for name, array in cells.items()}
        if len(self.fills):
            tensors["fills"] = self.fills
        parts = {name: getattr(self, name) for name in _CODERS}
        tensors |= {name: _bytes(part.to_bytes()) for name, part in parts.items() if part is not None}
        if self.conv is not None:
            tensors |= {f"conv.{name}": array for name, array in self.conv.stored.items()}
        if self.strided is not None:
            tensors |= {f"strided.{name}": array for name, array in self.strided.stored.items()}
        if self.network is not None:
            tensors |= {f"network.{name}": array for name, array in self.network.stored.items()}
        if self.prior is not None and (encoder or self._keeps_prior):
            tensors["prior"] = _bytes(record.pack([self.prior.levels.T]))
        if self.lens is not None:
            tensors["lens"] = _bytes(record.pack([self.lens.scale, self.lens.drop, self.lens.shift]))
        if self.subbands is not None:
            tensors["subbands"] = _bytes(record.pack(self.subbands.arrays()))
        if self.wavelet is not None:
            tensors["wavelet"] = _bytes(record.pack([self.wavelet.levels, self.wavelet.steps]))
        if encoder:
            meta |= {"about": self.about, "thrift": self.thrift}
            if self.prices is not None:
                tensors["prices"] = _bytes(self.prices.to_bytes())
            if self.encoder is not None and self.steps is not None:
                tensors |= {f"encoder.{name}": array for name, array in self.encoder.tensors().items()}
                tensors["steps"] = self.steps
                meta["encoder"] = self.encoder.settings
            if self.patches is not None:
                tensors |= {f"patches.{name}": array for name, array in self.patches.tensors().items()}
                meta |= {"patches": self.patches.settings, "pace": self.pace}
        text = json.dumps(meta, sort_keys=True, separators=(",", ":"))
        return tensorfile.to_bytes(tensors, {"aecompress": text})

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """Raises ModelError for other files, VersionError for newer ones, CorruptError for damaged ones."""
        meta, tensors = _read(data)
        try:
            return cls._build(meta, tensors)
        except (KeyError, TypeError, ValueError, InputError) as err:
            raise CorruptError("The model file does not hold what it announces; it is damaged.") from err

    @classmethod
    def _build(cls, meta: dict[str, Any], tensors: dict[str, Array]) -> Model:
        spec = ArraySpec(np.dtype(str(meta["spec"]["dtype"])), tuple(int(n) for n in meta["spec"]["row_shape"]))
        model = cls(
            ArraySpec(spec.native, spec.row_shape),
            str(meta["kind"]),
            Target.from_json(meta["target"]),
            Cells.from_parts(meta["cells"], _under(tensors, "cells.")),
            tensors.get("fills", np.zeros(0, spec.native)),
            float(meta["rate"]),
            float(meta["simple"]),
            _view(meta.get("view", []), spec),
            _turned(meta.get("turned", 0), spec),
            thrift=float(meta.get("thrift", 0.0)),
            about=meta.get("about", {}),
            known_as=_identity(meta["identity"]),
        )
        contexts = {n: ContextModel.from_bytes(tensors[n].tobytes()) for n in (*_CODERS, "prices") if n in tensors}
        model = replace(model, **contexts)  # type: ignore[arg-type]
        if "conv.taps" in tensors:
            found = integers.from_streams(_under(tensors, "conv."))
            model = replace(model, conv=Convolution.from_tensors(found))
        if "strided.grid" in tensors:
            found = integers.from_streams(_under(tensors, "strided."))
            model = replace(model, strided=Strided.from_tensors(found))
        if "network.depths" in tensors:
            found = integers.from_streams(_under(tensors, "network."))
            model = replace(model, network=_fitting(IntegerNetwork.from_tensors(found), model.coded_shape))
        if "prior" in tensors:
            (levels,) = record.unpack(tensors["prior"].tobytes())
            if model.latent_dim != len(levels.T):
                raise ValueError("network and prior have one number of latents")
            model = replace(model, prior=Tables.from_levels(levels.T))
        if "subbands" in tensors:
            model = replace(model, subbands=Subbands.checked(*record.unpack(tensors["subbands"].tobytes())))
        if "wavelet" in tensors:
            levels, steps = record.unpack(tensors["wavelet"].tobytes())
            model = replace(model, wavelet=Wavelet.checked(int(levels), steps))
        if "lens" in tensors:
            scale, drop, shift = record.unpack(tensors["lens"].tobytes())
            model = replace(model, lens=_lens(scale, int(drop), int(shift)))
        if "encoder" in meta:
            from aecompress.autoencoder import load_autoencoder

            encoder = load_autoencoder(meta["encoder"], _under(tensors, "encoder."))
            model = replace(model, encoder=encoder, steps=tensors["steps"])
        if "patches" in meta:
            from aecompress.autoencoder.strided import StridedAutoencoder

            patches = StridedAutoencoder.from_tensors(meta["patches"], _under(tensors, "patches."))
            model = replace(model, patches=patches, pace=float(meta["pace"]))
        return model


def _view(shape: Any, spec: ArraySpec) -> tuple[int, ...]:
    view = tuple(int(n) for n in shape)
    if view and (min(view) < 1 or ArraySpec(spec.native, view).row_size != spec.row_size):
        raise ValueError("a view has as many values as a row")
    return view


def _turned(rows: Any, spec: ArraySpec) -> int:
    found = int(rows)
    if found < 0 or (found and not spec.row_shape):
        raise ValueError("rows of some shape can be turned")
    return found


def _identity(text: object) -> bytes:
    identity = bytes.fromhex(str(text))
    if len(identity) != 16:
        raise ValueError("an identity has 16 bytes")
    return identity


def _fitting(network: IntegerNetwork, shape: tuple[int, ...]) -> IntegerNetwork:
    if len(network.offset) not in (math.prod(shape), *shape[-1:]):
        raise ValueError("a network makes rows, or their last axis")
    return network


def _lens(scale: Array, drop: int, shift: int) -> Reference:
    if not (scale.ndim == 1 and 0 <= drop < 63 and 0 <= shift < 63 and bool((np.abs(scale) < 2**31).all())):
        raise CorruptError("The model's reference has impossible numbers; the file is damaged.")
    return Reference(scale, drop, shift)


def _read(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """(metadata, tensors) of a model file."""
    try:
        known = tensorfile.metadata_of(data)
        if _TASK in known:
            task = str(json.loads(known[_TASK])["task"])
            raise ModelError(
                f"This model is for aecompress {task}: give one that `aecompress fit` wrote without --task."
            )
        meta = json.loads(known["aecompress"])
        version = int(meta["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise ModelError("This is not an aecompress model: give a file that `aecompress fit` wrote.") from err
    if version > VERSION:
        raise VersionError(
            f"The model is of format version {version}, this release reads up to {VERSION}: upgrade aecompress."
        )
    try:
        return meta, tensorfile.from_bytes(data)
    except (ValueError, KeyError) as err:
        raise CorruptError("The model file is damaged: fit the model again.") from err


def _under(tensors: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)


def _same(first: Array, second: Array) -> bool:
    """Equal bit for bit."""
    integer = np.dtype(f"u{first.dtype.itemsize}")
    return first.shape == second.shape and bool(np.array_equal(first.view(integer), second.view(integer)))
