"""The Zarr 3 codec ``aecompress``: chunks packed at an error bound, each with a model of its own.

A chunk is: bytes of the model as uint32 little-endian, the model, the payload of all its rows.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.errors import CorruptError, InputError, ModelError
from aecompress.spec import Array, ArraySpec
from aecompress.trainer import fit

try:
    from zarr.abc.codec import ArrayBytesCodec
except ImportError as err:
    raise ImportError("aecompress.integrations.zarr needs zarr; install it by: pip install 'aecompress[zarr]'") from err

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec as ChunkSpec
    from zarr.core.buffer import Buffer, NDBuffer

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class AecompressCodec(ArrayBytesCodec):  # type: ignore[misc]  # zarr is not followed by the type checker
    """The serializer of a Zarr array: ``zarr.create_array(..., serializer=AecompressCodec(target), compressors=None)``.

    Attributes:
        target: ``max-error``, ``rel-error`` or ``lossless``, kept by each chunk for itself; part of ``zarr.json``.

    Raises:
        InputError: the target sets no bound.
    """

    target: Target

    is_fixed_size = False

    def __post_init__(self) -> None:
        if not self.target.bounded:
            raise InputError(
                f"The target {self.target.kind} needs the whole array, and a chunk is packed alone; "
                "use max-error, rel-error or lossless."
            )

    def to_dict(self) -> dict[str, Any]:
        return {"name": "aecompress", "configuration": self.target.to_json()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AecompressCodec:
        try:
            return cls(Target.from_json(data["configuration"]))
        except (KeyError, TypeError) as err:
            raise InputError(
                "The codec aecompress is configured by the kind of a target and its value, such as "
                f'{{"kind": "max-error", "value": 0.01}}, not by {data.get("configuration")}.'
            ) from err

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:  # noqa: ARG002
        """Raise InputError for an array without axes, one of too many, or a dtype that cannot be packed."""
        if not shape:
            raise InputError("An array without axes cannot be packed by the codec aecompress; use another serializer.")
        ArraySpec(dtype.to_native_dtype(), shape[1:])

    def compute_encoded_size(self, _input_byte_length: int, _chunk_spec: ChunkSpec) -> int:
        raise NotImplementedError

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ChunkSpec) -> Buffer:
        packed = await asyncio.to_thread(_pack, chunk_array.as_numpy_array(), self.target)
        return chunk_spec.prototype.buffer.from_bytes(packed)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ChunkSpec) -> NDBuffer:
        rows = await asyncio.to_thread(_unpack, chunk_bytes.to_bytes())
        expected = chunk_spec.dtype.to_native_dtype().newbyteorder("=")
        if rows.shape != chunk_spec.shape or rows.dtype != expected:
            raise CorruptError(
                f"A chunk holds {rows.shape} values of {rows.dtype}, not {chunk_spec.shape} of {expected}; "
                "it is damaged, or of another array."
            )
        return chunk_spec.prototype.nd_buffer.from_numpy_array(rows)


def _pack(chunk: Array, target: Target) -> bytes:
    """A network would cost each chunk more than it saves, so the context model, or the wavelet, does it alone."""
    rows = np.ascontiguousarray(chunk)
    model = fit(rows, target, kind="none", effort="fast")
    data = model.to_bytes()
    return _LENGTH.pack(len(data)) + data + model.compress(rows)


def _unpack(data: bytes) -> Array:
    """Raises CorruptError if the bytes are not a chunk, or not all of it."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        start = _LENGTH.size + length
        return Model.from_bytes(data[_LENGTH.size : start]).decompress(data[start:])
    except (struct.error, ModelError) as err:
        raise CorruptError("A chunk does not begin with a model; it is damaged.") from err
