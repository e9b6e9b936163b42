"""AVIF as Pillow writes it, which can do so in grey and for the least squared error."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from aecompress.peers.frames import LossyPicturePeer
from aecompress.spec import Array


class Avif(LossyPicturePeer):
    """AVIF of 8 bits, speed 5: grey alone, or colours of full resolution, at each of the 64 quantizers of AV1."""

    name = "avif"
    itemsize = 1
    max_edge = 32768
    qualities = 64

    def encode(self, picture: Array) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(picture).save(
            stream,
            "AVIF",
            quality=round(self.quality * 100 / (self.qualities - 1)),
            subsampling="4:4:4" if self.frames.colours else "4:0:0",
            speed=5,
            max_threads=1,
            advanced={"tune": "psnr"},
        )
        return stream.getvalue()

    def decode(self, part: bytes) -> Array:
        with Image.open(io.BytesIO(part), formats=["AVIF"]) as picture:
            return np.asarray(picture.convert("RGB" if self.frames.colours else "L"))
