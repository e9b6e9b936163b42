"""The compressors that aecompress is measured against."""

from benchmarks.peers.base import Peer
from benchmarks.peers.fields import Sperr, Sz3, Zfp
from benchmarks.peers.lattice import QuantizeDeltaZstd, QuantizePcodec
from benchmarks.peers.lossless import Pcodec, Zstd
from benchmarks.peers.pictures import JpegLs, JpegXl, WebP

PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (Sz3, Sperr, Zfp, QuantizeDeltaZstd, QuantizePcodec, Zstd, Pcodec, JpegXl, JpegLs, WebP)
}

__all__ = ["PEERS", "Peer"]
