"""Pack: rows in, an archive out.

source ─► blocks ─► Model.code (workers) ─► ShardWriter ─► manifest
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aecompress.codec.model import Coded, Model
from aecompress.config import MODEL_KINDS, Progress, Target, silent
from aecompress.errors import ModelError
from aecompress.metrics import Distortion
from aecompress.report import Report, break_even, stored
from aecompress.shards.block import Block
from aecompress.shards.manifest import Manifest
from aecompress.shards.reader import archive_bytes
from aecompress.shards.writer import ShardWriter
from aecompress.sources import open_source, spool
from aecompress.sources.base import Source
from aecompress.spec import VERSION, Array
from aecompress.trainer import adapt, block_rows, fit


@dataclass
class _Totals:
    """What the blocks added up to."""

    error: Distortion = field(default_factory=Distortion)
    methods: dict[str, int] = field(default_factory=dict)
    payload: int = 0

    def add(self, method: str, error: Distortion, payload: int) -> None:
        self.error += error
        self.methods[method] = self.methods.get(method, 0) + 1
        self.payload += payload


def pack(
    source: Any,
    archive: str | Path,
    *,
    model: str | Path | Model = "auto",
    target: Target | None = None,
    force: bool = False,
    resume: bool = False,
    fit_seconds: float = 60.0,
    seed: int = 0,
    workers: int = 2,
    progress: Progress = silent,
) -> Report:
    """Pack a source into an archive.

    Args:
        source: a path, ``-`` for standard input, an array, an iterable of batches, an arrow table, or a Source.
        archive: the folder to write.
        model: a kind to fit (``auto``, ``none``, ``pca``, ``vanilla``, ``textbook``), the path of a model file, or a
            Model.
        target: what to reach; by default a relative bound of 1e-3 for floats and no loss for integers.
        force: replace an archive that is there.
        resume: go on with an unfinished pack of the same source and settings.
        fit_seconds: time that training a network may take.
        seed: of everything random.
        workers: blocks coded at once.
        progress: called as progress(phase, share done, facts).

    Returns:
        The report; its ``seconds`` begin when the source is opened.

    Raises:
        InputError: the source or the target cannot be used.
        ModelError: the model was fitted for another dtype or row shape.
        DestinationError: the archive exists already, or cannot be written.
        VerificationError: a value came back outside the bound (a defect; nothing is left that looks whole).
    """
    started = time.monotonic()
    opened = open_source(source)
    goal = target or (model.target if isinstance(model, Model) else None)
    default = goal is None
    goal = goal or Target.default(opened.spec.dtype)
    given = _given(model)
    if given is not None and default and not isinstance(model, Model):
        goal, default = given.target, False
    writer = ShardWriter.create(Path(archive), key=_key(opened, goal, model, seed), force=force, resume=resume)
    try:
        if not opened.replayable:
            opened = spool(opened, writer.scratch())
        fitting = time.monotonic()
        fitted = _model(writer, opened, goal, given, model, fit_seconds, seed, progress)
        fit_took = time.monotonic() - fitting
        totals = _write_blocks(writer, opened, fitted, workers, progress)
        facts = _facts(fitted, totals)
        manifest = writer.commit(opened.spec, opened.origin, goal, block_rows(opened.spec), facts)
    finally:
        writer.abort()
    took = time.monotonic() - started
    return _report(Path(archive), manifest, fitted, totals, default, took, fit_took)


def _given(model: str | Path | Model) -> Model | None:
    """The model of a path or object; None if ``model`` is a kind to fit."""
    if isinstance(model, Model):
        return model
    if str(model) in MODEL_KINDS:
        return None
    return load_model(model)


def load_model(path: str | Path) -> Model:
    """The model of a file that ``fit`` wrote. Raises ModelError if it is none."""
    try:
        return Model.from_bytes(Path(path).read_bytes())
    except OSError as err:
        kinds = ", ".join(MODEL_KINDS)
        raise ModelError(f"{path} is neither a model kind ({kinds}) nor a model file that can be read.") from err


def _key(source: Source, target: Target, model: str | Path | Model, seed: int) -> str:
    """Digest of all that decides the bytes of the archive, as far as it is known before the first row is read."""
    named = model.identity.hex() if isinstance(model, Model) else str(model)
    facts = [VERSION, source.name, source.spec.to_json(), source.origin, target.to_json(), named, seed]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _model(
    writer: ShardWriter,
    source: Source,
    target: Target,
    given: Model | None,
    kind: str | Path | Model,
    seconds: float,
    seed: int,
    progress: Progress,
) -> Model:
    """The model to code with: staged by an earlier run, given, or fitted now; staged before the first block."""
    if writer.model is not None:
        return Model.from_bytes(writer.model)
    if given is not None:
        fitted = adapt(given, source, target, progress=progress)
    else:
        fitted = fit(source, target, kind=str(kind), seconds=seconds, seed=seed, progress=progress)
    writer.save_model(fitted.to_bytes())
    return fitted


def _write_blocks(writer: ShardWriter, source: Source, model: Model, workers: int, progress: Progress) -> _Totals:
    """Code and write what is not yet written, in order."""
    totals = _Totals()
    rows = source.spec.shape[0]
    for block in writer.finished():
        totals.add(block.method, block.distortion, len(block.payload))
    start = writer.next_row
    for block in _coded(source, model, start, workers):
        writer.write(block)
        totals.add(block.method, block.distortion, len(block.payload))
        done = block.start + block.rows
        raw = done * source.spec.row_bytes
        progress("pack", done / max(rows, 1), {"bytes": raw, "ratio": raw / max(totals.payload, 1)})
    return totals


def _coded(source: Source, model: Model, start: int, workers: int) -> Iterator[Block]:
    """Blocks in row order; up to ``workers`` are coded at once, so memory stays bounded."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[tuple[int, int, Future[Coded]]] = []
        for batch in source.batches(block_rows(source.spec), start):
            waiting.append((start, len(batch), pool.submit(_code, model, batch)))
            start += len(batch)
            if len(waiting) > workers:
                yield _block(*waiting.pop(0))
        for item in waiting:
            yield _block(*item)


def _code(model: Model, batch: Array) -> Coded:
    return model.code(batch)


def _block(start: int, rows: int, coded: Future[Coded]) -> Block:
    done = coded.result()
    return Block(start, rows, done.payload, done.method, done.distortion)


def _facts(model: Model, totals: _Totals) -> dict[str, Any]:
    """What the manifest keeps of the report: nothing that differs between two runs."""
    return {"model": model.kind, "distortion": stored(totals.error), "methods": totals.methods}


def _report(
    archive: Path, manifest: Manifest, model: Model, totals: _Totals, default: bool, took: float, fit_took: float
) -> Report:
    spec = manifest.spec
    packed = archive_bytes(archive)
    model_bytes = manifest.model.bytes if manifest.model else 0
    error = totals.error
    raw = spec.raw_bytes
    speed = raw / 1e6 / max(took - fit_took, 1e-9)
    return Report(
        rows=spec.shape[0],
        raw_bytes=raw,
        packed_bytes=packed,
        model_bytes=model_bytes,
        ratio=raw / packed if raw else None,
        target=manifest.target,
        target_is_default=default,
        bound=model.cells.most if model.target.bounded else None,
        max_abs_error=error.max_abs,
        rmse=error.rmse,
        psnr=error.psnr,
        bound_kept=True if model.target.bounded else None,
        model=model.kind,
        methods=totals.methods,
        seconds=took,
        fit_seconds=fit_took,
        mb_per_s=speed if math.isfinite(speed) else 0.0,
        break_even_rows=break_even(model_bytes, totals.payload, int(model.simple * raw), spec.shape[0]),
    )
