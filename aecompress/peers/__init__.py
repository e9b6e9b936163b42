"""The compressors that aecompress is measured against, each with the package it comes from.

    base      what every peer does: settings worth trying, compress, decompress
    trial     one setting on one array: bytes, speeds, and whether what comes back is good enough

A new one is a class in a module here, and a line in ``PEERS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from aecompress.peers.base import Peer

__all__ = ["PEERS", "Known", "Peer", "installed", "load", "missing"]


@dataclass(frozen=True)
class Known:
    """Where a peer is: its module here, its class, and the package it needs, which is imported with it."""

    module: str
    type: str
    package: str


PEERS = {
    "sz3": Known("fields", "Sz3", "imagecodecs"),
    "sperr": Known("fields", "Sperr", "imagecodecs"),
    "zfp": Known("fields", "Zfp", "imagecodecs"),
    "quantize+delta+zstd": Known("lattice", "QuantizeDeltaZstd", "zstandard"),
    "quantize+pcodec": Known("pcodec", "QuantizePcodec", "imagecodecs"),
    "zstd-19": Known("lossless", "Zstd", "zstandard"),
    "pcodec": Known("pcodec", "Pcodec", "imagecodecs"),
    "jpegxl lossless": Known("pictures", "JpegXl", "imagecodecs"),
    "jpegls": Known("pictures", "JpegLs", "imagecodecs"),
    "webp lossless": Known("pictures", "WebP", "imagecodecs"),
    "jpegxl": Known("pictures", "LossyJpegXl", "imagecodecs"),
    "avif": Known("avif", "Avif", "PIL"),
    "pca": Known("linear", "Pca", "zstandard"),
    "faiss": Known("vectors", "Faiss", "faiss"),
}


def load(name: str) -> type[Peer]:
    """The class of a peer in ``PEERS`` that is installed."""
    known = PEERS[name]
    peer: type[Peer] = getattr(import_module(f"aecompress.peers.{known.module}"), known.type)
    return peer


def installed() -> dict[str, type[Peer]]:
    """The peers that can be run here."""
    return {name: load(name) for name in PEERS if name not in missing()}


def missing() -> dict[str, str]:
    """The peers that cannot be run here, with the package that each lacks."""
    return {name: known.package for name, known in PEERS.items() if find_spec(known.package) is None}
