"""Pack large sets of similar arrays at an error you name, and stream them back.

    import aecompress

    report = aecompress.pack("images.npy", "images.aec", target=aecompress.Target("max-error", 3))
    archive = aecompress.open("images.aec")
    first = archive[0:100]

Everything is imported when it is first used, so ``import aecompress`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from aecompress import spec

if TYPE_CHECKING:
    from aecompress.applications.anomaly import anomalies as anomalies
    from aecompress.applications.embedding import embed as embed
    from aecompress.applications.neighbours import search as search
    from aecompress.archive import Archive as Archive
    from aecompress.codec.model import Model as Model
    from aecompress.colorizer import colorize as colorize
    from aecompress.colorizer import fit_colorizer as fit_colorizer
    from aecompress.comparer import Comparison as Comparison
    from aecompress.comparer import compare as compare
    from aecompress.config import Target as Target
    from aecompress.denoiser import denoise as denoise
    from aecompress.denoiser import fit_denoiser as fit_denoiser
    from aecompress.errors import AecompressError as AecompressError
    from aecompress.figures import Report as Report
    from aecompress.htmlreport import report as report
    from aecompress.inspector import info as info
    from aecompress.locations import Where
    from aecompress.packer import load_model as load_model
    from aecompress.packer import pack as pack
    from aecompress.recipe import Recipe as Recipe
    from aecompress.sampler import sample as sample
    from aecompress.trainer import fit as fit
    from aecompress.unpacker import unpack as unpack
    from aecompress.verifier import verify as verify

__version__ = spec.VERSION

_HOME = {
    "AecompressError": "errors",
    "Archive": "archive",
    "Comparison": "comparer",
    "Model": "codec.model",
    "Recipe": "recipe",
    "Report": "figures",
    "Target": "config",
    "colorize": "colorizer",
    "anomalies": "applications.anomaly",
    "compare": "comparer",
    "denoise": "denoiser",
    "embed": "applications.embedding",
    "fit": "trainer",
    "fit_colorizer": "colorizer",
    "fit_denoiser": "denoiser",
    "info": "inspector",
    "load_model": "packer",
    "pack": "packer",
    "report": "htmlreport",
    "sample": "sampler",
    "search": "applications.neighbours",
    "unpack": "unpacker",
    "verify": "verifier",
}

__all__ = ["__version__", "open", *_HOME]


def open(archive: Where, *, quality: int | None = None) -> Archive:
    """Open an archive for reading, all of it or ``quality`` latents of each row.

    See ``Archive``, which also says what it raises.
    """
    from aecompress.archive import Archive

    return Archive(archive, quality)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"aecompress.{_HOME[name]}"), name)
    raise AttributeError(f"module 'aecompress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
