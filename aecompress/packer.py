"""Pack: rows in, an archive out.

source ─► blocks ─► Model.encoded, checked (workers) ─► ShardWriter ─► manifest

What decides the bytes of an archive has a key, which its manifest keeps: an interrupted pack goes on with no other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aecompress import ranks
from aecompress.abreast import WORKERS, in_two_steps, one_thread
from aecompress.codec.model import Encoded, Model
from aecompress.config import FIT_SECONDS, MODEL_KINDS, Effort, Progress, Role, Target, silent
from aecompress.devices import Device, check_device
from aecompress.entropy.loops import compile_seconds
from aecompress.errors import InputError, ModelError
from aecompress.figures import Report, break_even, course, restored, stored
from aecompress.locations import Location, Where, locate
from aecompress.metrics import Distortion, Similarity, similarity
from aecompress.recipe import Recipe
from aecompress.shards.block import Block
from aecompress.shards.manifest import LATENTS, Manifest, is_archive
from aecompress.shards.reader import ShardReader, archive_bytes
from aecompress.shards.table import Cursor, fingerprint, latents_field, with_latents
from aecompress.shards.writer import ShardWriter
from aecompress.sources import open_source, spool
from aecompress.sources.base import Source
from aecompress.spec import VERSION, Array
from aecompress.trainer import adapt, fit, packed_rows

_log = logging.getLogger(__name__)

#: Stretches of rows whose values count in the key, spread over the source, and bytes of each.
_STRETCHES = 4
_STRETCH_BYTES = 1 << 20


@dataclass
class Totals:
    """What the blocks added up to: their error, their number by method, and the bytes of their payloads.

    The similarity has rows where the target is a cosine.
    """

    error: Distortion = field(default_factory=Distortion)
    methods: dict[str, int] = field(default_factory=dict)
    payload: int = 0
    similarity: Similarity = field(default_factory=Similarity)

    def add(self, block: Block) -> None:
        self.error += block.distortion
        self.methods[block.method] = self.methods.get(block.method, 0) + 1
        self.payload += len(block.payload)
        self.similarity += block.similarity or Similarity()


@dataclass(frozen=True)
class Times:
    """Seconds that passed since some moment, and those among them in which loops were ``compiling``."""

    passed: float
    compiling: float = 0.0

    @classmethod
    def now(cls) -> Times:
        """A moment to ask ``since`` of."""
        return cls(time.monotonic(), compile_seconds())

    def since(self) -> Times:
        """What passed since this moment."""
        now = Times.now()
        return Times(now.passed - self.passed, now.compiling - self.compiling)

    @property
    def running(self) -> float:
        """Seconds in which nothing was compiled."""
        return self.passed - self.compiling


def pack(
    source: Any,
    archive: Where,
    *,
    model: str | Path | Model = "auto",
    recipe: Recipe | None = None,
    target: Target | None = None,
    force: bool = False,
    resume: bool = False,
    keep_latents: bool = False,
    fit_seconds: float = FIT_SECONDS,
    effort: Effort = "balanced",
    axes: Sequence[Role] | None = None,
    seed: int = 0,
    device: Device = "auto",
    workers: int = WORKERS,
    progress: Progress = silent,
) -> Report:
    """Pack a source into an archive.

    Ranks (``ranks.together``) fit together; the first packs, while the others wait and get its report.

    Args:
        source: a path, ``-`` for standard input, an array, an iterable of batches, an arrow table, or a Source.
        archive: the folder to write, or its URL in a store; then it grows on this machine and is sent when complete.
        model: a kind to fit (``auto``, ``none``, ``conv``, ``strided``, ``pca``, ``vanilla``, ``sparse``,
            ``denoising``, ``vae``, ``textbook``), the path of a model file, or a Model.
        recipe: how to build and teach an autoencoder of that kind; nothing where a model is given.
        target: what to reach; by default a relative bound of 1e-3 for floats and no loss for integers.
        force: replace an archive that is there.
        resume: go on with an unfinished pack of the same source and settings; of a stream only before its model is
            fitted. If that pack was finished after all, nothing is left to do.
        keep_latents: keep the latents of each row in ``rows/`` too, where the model is an autoencoder.
        fit_seconds: time that the fit may take; see ``fit``.
        effort: how long to look for a smaller archive: ``fast``, ``balanced`` or ``best``; see ``fit``.
        axes: the role of each axis, where they shall not be measured; see ``fit``. Nothing where a model is given.
        seed: of everything random.
        device: that networks are trained on; see ``fit``. Blocks are coded on the CPU, but ``cuda``, named so, computes
            the autoencoder in it.
        workers: blocks coded at once.
        progress: called as progress(phase, share done, facts).

    Returns:
        The report; its ``seconds`` begin when the source is opened.

    Raises:
        InputError: the source, the target, the recipe, the axes or the device cannot be used.
        ModelError: the model was fitted for another dtype or row shape.
        DestinationError: the archive exists already, or cannot be written.
        VerificationError: a value came back outside the bound (a defect; nothing is left that looks whole).
    """
    started = Times.now()
    where, opened = locate(archive), open_source(source)
    goal = target or (model.target if isinstance(model, Model) else None)
    default = goal is None
    goal = goal or Target.default(opened.spec.dtype)
    given = _given(model)
    if given is not None and default and not isinstance(model, Model):
        goal, default = given.target, False
    check_device(device)
    recipe = _checked(recipe or Recipe(), axes, given, model)
    named = _name(recipe, axes, model) if given is None else given.identity.hex()
    if given is None:
        learn = partial(
            fit,
            target=goal,
            kind=str(model),
            recipe=recipe,
            seconds=fit_seconds,
            effort=effort,
            axes=axes,
            seed=seed,
            device=device,
            progress=progress,
            once=True,
        )
    else:
        learn = partial(adapt, given, target=goal, effort=effort, device=device, progress=progress)
    if not ranks.is_first():
        return _beside_first(partial(learn, opened))
    key = _key(opened, goal, named, effort, seed, keep_latents)
    if resume and not force and _is_done(where, key):
        return ranks.told(_report_again(where, default, started))
    _log.info("packing %s, %s, at %s", opened.name, opened.spec.describe(), goal.describe())
    writer = ShardWriter.create(where, key=key, force=force, resume=resume)
    try:
        if opened.columns is not None:
            _check_names(opened.columns.schema.names)
            writer.keep_columns(opened.columns.schema)
        if not opened.replayable:
            _check_fresh(writer, opened)
            opened = spool(opened, writer.scratch())
            key = _key(opened, goal, named, effort, seed, keep_latents)
        fitting = Times.now()
        fitted = _model(writer, opened, partial(learn, opened), keep_latents)
        fit_took = fitting.since().running
        _log.info("model %s after %.1f s: %.3g bits a value", fitted.name, fit_took, fitted.rate)
        if keep_latents:
            writer.keep_columns(_with_latents(opened, fitted))
        fitted = replace(fitted, device="cuda") if device == "cuda" else fitted
        height = fitted.turned or packed_rows(opened.spec, goal, effort)
        totals = _write_blocks(writer, opened, fitted, height, workers, keep_latents, progress)
        found = facts(fitted, totals, key)
        manifest = writer.commit(opened.spec, opened.origin, goal, height, found)
    finally:
        writer.abort()
    return ranks.told(summary(where, manifest, fitted, totals, default, started.since(), fit_took))


def _beside_first(learn: Callable[[], Model]) -> Report:
    """What the other ranks do: fit when the first does, and wait for its report."""
    report: Report | None = ranks.told(None)
    while report is None:
        learn()
        report = ranks.told(None)
    return report


def _given(model: str | Path | Model) -> Model | None:
    """The model of a path or object; None if ``model`` is a kind to fit."""
    if isinstance(model, Model):
        return model
    if str(model) in MODEL_KINDS:
        return None
    return load_model(model)


def _checked(recipe: Recipe, axes: Sequence[Role] | None, given: Model | None, kind: str | Path | Model) -> Recipe:
    """The recipe, if there is something to fit that knows its settings. Raises InputError if not."""
    if given is None:
        return recipe.checked(str(kind))
    if axes:
        raise InputError("Roles of axes are for a model to be fitted, and this one is: leave them out, or name a kind.")
    if recipe.changed:
        raise InputError("Settings shape a model while it is fitted, and this one is: leave them out, or name a kind.")
    return recipe


def _name(recipe: Recipe, axes: Sequence[Role] | None, kind: str | Path | Model) -> str:
    """What tells one fit from another in a key."""
    words = [str(kind), *([json.dumps(recipe.changed, sort_keys=True)] if recipe.changed else []), *(axes or ())]
    return " ".join(words)


def load_model(path: str | Path) -> Model:
    """The model of a file that ``fit`` wrote. Raises ModelError if it is none."""
    try:
        return Model.from_bytes(locate(path).read_bytes())
    except OSError as err:
        kinds = ", ".join(MODEL_KINDS)
        raise ModelError(f"{path} is neither a model kind ({kinds}) nor a model file that can be read.") from err


def _key(source: Source, target: Target, model: str, effort: str, seed: int, keep_latents: bool) -> str:
    """16 hexadecimal digits of all that decides the bytes of the archive; of a stream, what is known before it is read.

    Values count by a few stretches of rows, the first and the last among them, in bounded time; and so does what stands
    beside them.
    """
    facts = [VERSION, source.spec.to_json(), source.origin, target.to_json(), model, effort, seed]
    facts += ["latents"] if keep_latents else []
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for start, stop in _stretches(source):
        for rows in source.batches(stop - start, start, stop):
            digest.update(rows.tobytes())
        if source.columns is not None:
            digest.update(fingerprint(source.columns.schema, source.columns.batches(start, stop - start), stop - start))
    return digest.hexdigest()[:16]


def _stretches(source: Source) -> list[tuple[int, int]]:
    """(start, stop) of the rows that count in the key."""
    if not source.replayable:
        return []
    rows = source.spec.shape[0]
    many = min(rows, max(1, _STRETCH_BYTES // max(source.spec.row_bytes, 1)))
    starts = {(rows - many) * i // (_STRETCHES - 1) for i in range(_STRETCHES)} if many else set()
    return [(start, start + many) for start in sorted(starts)]


def _check_fresh(writer: ShardWriter, source: Source) -> None:
    """Raise InputError if there is something of a stream to resume: whether it gives the same rows is not known."""
    if writer.model is not None:
        raise InputError(
            f"{source.name} is a stream, so an interrupted pack of it cannot be resumed; start again with --force "
            "without --resume, or save the stream to a file first."
        )


def _is_done(archive: Location, key: str) -> bool:
    """True if there is a complete archive of this key."""
    return is_archive(archive) and ShardReader(archive).manifest.report.get("key") == key


def _report_again(archive: Location, default: bool, started: Times) -> Report:
    """The report of an archive that an earlier run finished."""
    reader = ShardReader(archive)
    said = reader.manifest.report
    payload = said.get("payload_bytes", sum(part.bytes for part in reader.manifest.fragments))
    similar = Similarity(1, said["cosine"]) if "cosine" in said else Similarity()
    totals = Totals(restored(said["distortion"]), said["methods"], payload, similar)
    model = Model.from_bytes(reader.model() or b"")
    return summary(archive, reader.manifest, model, totals, default, started.since())


def _model(writer: ShardWriter, source: Source, learn: Callable[[], Model], keep_latents: bool) -> Model:
    """The model to code with: staged by an earlier run, or learned now; staged before the first block."""
    if writer.model is not None:
        return Model.from_bytes(writer.fitted or writer.model)
    ranks.told(None)  # the others are to learn it too
    fitted = learn()
    if keep_latents:
        _with_latents(source, fitted)  # before anything is staged that a resume would find
    writer.save_model(fitted.to_bytes(), fitted.to_bytes(encoder=True))
    return fitted


def _check_names(names: list[str]) -> None:
    if LATENTS in names:
        raise InputError(f"A column beside the array is named {LATENTS}, which archives use; rename it.")


def _with_latents(source: Source, model: Model) -> pa.Schema:
    """What stands beside the rows, latents included. Raises InputError if the model has none."""
    if model.of_places:
        raise InputError(
            "The latents of this model are of places in rows, so rows have none to keep; choose --model vanilla, or "
            "leave --keep-latents out."
        )
    if model.network is None or model.encoder is None:
        raise InputError(
            f"The model is {model.kind}, which has no latents to keep; choose one that has, as with --model pca or "
            "vanilla, or leave --keep-latents out."
        )
    columns = [] if source.columns is None else list(source.columns.schema)
    return pa.schema([*columns, latents_field(model.encoder.latent_dim)])


@one_thread()
def _write_blocks(
    writer: ShardWriter,
    source: Source,
    model: Model,
    height: int,
    workers: int,
    keep_latents: bool,
    progress: Progress,
) -> Totals:
    """Code and write what is not yet written, in order, in blocks of ``height`` rows, with what stands beside it."""
    totals = Totals()
    rows = source.spec.shape[0]
    beside = Cursor(() if source.columns is None else source.columns.batches(writer.next_row, height))
    for block in writer.finished():
        totals.add(_remeasured(block, source, model) if model.target.kind == "cosine" else block)
    names = [] if source.columns is None else source.columns.schema.names
    for block, latents in _coded(source, model, writer.next_row, height, workers, keep_latents):
        columns = beside.take(block.rows)
        writer.write(block, columns if latents is None else with_latents(columns, latents, names))
        _log.debug("rows %d to %d: %s, %s bytes", block.start, block.stop, block.method, f"{len(block.payload):,}")
        totals.add(block)
        done = block.start + block.rows
        raw = done * source.spec.row_bytes
        progress("pack", done / max(rows, 1), {"bytes": raw, "ratio": raw / max(totals.payload, 1)})
    return totals


def _remeasured(block: Block, source: Source, model: Model) -> Block:
    """A finished block with the similarity of its rows, which parts do not keep."""
    rows = np.concatenate(list(source.batches(block.rows, block.start, block.stop)))
    return replace(block, similarity=similarity(rows.astype(model.spec.native), model.decompress(block.payload)))


def _coded(
    source: Source, model: Model, start: int, height: int, workers: int, keep_latents: bool
) -> Iterator[tuple[Block, Array | None]]:
    """Blocks in row order, with their latents if wanted; up to ``workers`` are coded at once: memory stays bounded."""

    def encode(numbered: tuple[int, Array]) -> tuple[int, Array, Encoded]:
        first, batch = numbered
        return first, batch, model.encoded(batch)

    def check(encoded: tuple[int, Array, Encoded]) -> tuple[Block, Array | None]:
        first, batch, block = encoded
        done = model.checked(block)
        found = Block(first, len(batch), done.payload, done.method, done.distortion, done.similarity)
        return found, model.embed(batch) if keep_latents else None

    def batches() -> Iterator[tuple[int, Array]]:
        first = start
        for batch in source.batches(height, start):
            yield first, batch
            first += len(batch)

    return in_two_steps(encode, check, batches(), workers)


def facts(model: Model, totals: Totals, key: str) -> dict[str, Any]:
    """What the manifest keeps of the report: nothing that differs between two runs."""
    found: dict[str, Any] = {"cosine": totals.similarity.mean} if totals.similarity.rows else {}
    if model.encoder is not None and len(model.encoder.course):
        found["training"] = course(model.encoder.course)
    if model.context is not None and model.context.relations is not None:
        found["computed"] = sum(model.context.relations.told)
    return found | {
        "model": model.name,
        "distortion": stored(totals.error),
        "methods": totals.methods,
        "payload_bytes": totals.payload,
        "key": key,
    }


def summary(
    archive: Location,
    manifest: Manifest,
    model: Model,
    totals: Totals,
    default: bool,
    took: Times,
    fit_seconds: float = 0.0,
) -> Report:
    """The report of an archive just written; ``default`` if nobody named the target."""
    spec = manifest.spec
    packed = archive_bytes(archive)
    model_bytes = manifest.model.bytes if manifest.model else 0
    error = totals.error
    raw = spec.raw_bytes
    speed = raw / 1e6 / max(took.running - fit_seconds, 1e-9)
    return Report(
        rows=spec.shape[0],
        raw_bytes=raw,
        packed_bytes=packed,
        model_bytes=model_bytes,
        columns_bytes=manifest.columns_bytes,
        ratio=raw / packed if raw else None,
        target=manifest.target,
        target_is_default=default,
        bound=model.cells.most if model.target.bounded else None,
        max_abs_error=error.max_abs,
        rmse=error.rmse,
        psnr=error.psnr,
        cosine=totals.similarity.mean if totals.similarity.rows else None,
        bound_kept=True if model.target.bounded else None,
        model=model.name,
        methods=totals.methods,
        seconds=took.passed,
        fit_seconds=fit_seconds,
        compile_seconds=took.compiling,
        mb_per_s=speed if math.isfinite(speed) else 0.0,
        tried=model.about.get("tried", {}),
        break_even_rows=break_even(model_bytes, totals.payload, int(model.simple * raw), spec.shape[0], model.turned),
    )
