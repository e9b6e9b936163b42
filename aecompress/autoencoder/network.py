"""The fitted autoencoder: normaliser, analysis and synthesis in floating point.

    rows ─ normalizer.forward ─ encoder ─ y          y ─ decoder ─ normalizer.inverse ─ rows

Encoder and decoder are each a sum of paths; a path is a chain of dense layers. PCA is one linear layer a path,
``vanilla`` adds a path of ReLU layers to it, ``textbook`` is the ReLU path alone. Archives hold none of this: they
hold the integer network that ``freeze`` makes of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aecompress.autoencoder.freezing import FloatLayer, freeze
from aecompress.autoencoder.integer import IntegerNetwork
from aecompress.devices import upload
from aecompress.errors import InputError, ModelError
from aecompress.normalize import Float64s, Normalizer
from aecompress.spec import Array

Path = tuple[FloatLayer, ...]

#: ``batches()`` starts a fresh pass over the rows: finite float64 [n, D], any n.
Batches = Callable[[], Iterator[Array]]

#: Normalised values are clipped to this, so that rows unlike any seen at the fit stay finite on the way.
_FAR = 2.0**40


@dataclass(frozen=True)
class Autoencoder:
    """A fitted autoencoder; its latents are in the data's units.

    Noise of variance v in every latent becomes noise of variance v * K / D in every value: exactly for ``pca``, and
    about so for the others. So quantising all latents with one step is right, and that step is in the data's units
    (with one scale per feature: in units of their root mean square).

    Attributes:
        kind: ``pca``, ``vanilla``, ``sparse``, ``denoising``, ``vae`` or ``textbook``.
        normalizer: of the rows.
        encoder, decoder: paths whose outputs add up; they work in normalised units.
        deviation: float64 [K], root mean square of each latent at the fit.
        coarseness: float64 [K], steps of the latents relative to one another; empty where all are one.
        active: latents of a row that may differ from zero, those of the greatest magnitude; 0: all.
        course: float64 [n, 3] of the training: seconds, loss on what taught since the last, score on what did not.
    """

    kind: str
    normalizer: Normalizer
    encoder: tuple[Path, ...]
    decoder: tuple[Path, ...]
    deviation: Float64s
    coarseness: Float64s = field(default_factory=lambda: np.zeros(0))
    active: int = 0
    course: Float64s = field(default_factory=lambda: np.zeros((0, 3)))

    def __post_init__(self) -> None:
        row_size, latent_dim = len(self.normalizer.centre), self.latent_dim
        ends = [(path[0].inputs, path[-1].outputs) for path in self.encoder]
        ends += [(path[-1].outputs, path[0].inputs) for path in self.decoder]
        if any(end != (row_size, latent_dim) for end in ends) or not (self.encoder and self.decoder):
            raise ModelError("The autoencoder's layers do not fit one another; fit the model again.")
        if self.coarseness.shape not in ((0,), (latent_dim,)) or not (self.coarseness > 0).all() or self.active < 0:
            raise ModelError("The autoencoder's steps are no steps; fit the model again.")

    @property
    def latent_dim(self) -> int:
        """Number of latents K."""
        return len(self.deviation)

    @property
    def settings(self) -> dict[str, Any]:
        """What ``load_autoencoder`` needs beside the tensors; plain JSON."""
        return {"kind": self.kind, "active": self.active, **activations_of(encoder=self.encoder, decoder=self.decoder)}

    def steps(self, step: float) -> Float64s:
        """Float64 [K]: steps of the latents, ``step`` on the whole."""
        return np.full(self.latent_dim, step) * (self.coarseness if len(self.coarseness) else 1.0)

    def rows(self, values: Array, keep: Array) -> Float64s:
        """Float64 [n, D] of values [..., D] or [n, ...]; the feature's centre where ``keep`` (same shape) is false."""
        flat = values.reshape(-1, len(self.normalizer.centre))
        return np.where(keep.reshape(flat.shape), flat, self.normalizer.centre)

    def analysis(self, rows: Array, device: str = "cpu") -> Float64s:
        """Latents float64 [n, K] of finite rows float64 [n, D], computed on the device of this torch name."""
        with np.errstate(over="ignore"):
            normalised = np.clip(self.normalizer.forward(rows), -_FAR, _FAR)
        latents: Float64s = run(self.encoder, normalised, device).astype(np.float64) * self.normalizer.typical_scale
        return _greatest(latents, self.active) if self.active else latents

    def synthesis(self, latents: Array) -> Float64s:
        """Rows float64 [n, D] of latents [n, K], in floating point: the yardstick of the exact synthesis."""
        normalised = run(self.decoder, latents / self.normalizer.typical_scale)
        return self.normalizer.inverse(normalised.astype(np.float64))

    def freeze(self, steps: Array | float, weight_noise: float = 0.0015) -> IntegerNetwork:
        """The exact synthesis of latents quantised as ``round(y / steps)``.

        Args:
            steps: [K] or one number, in the latents' units, finite, more than 2^-31 of the latents' deviations.
            weight_noise: squared error that rounding the weights may add, relative to that of the quantised latents
                (0.0015: less than 0.01 dB a layer). In total, a decoder for n rows costs least at about D / n.

        Raises InputError for other steps, ModelError if the data's offset is too far beyond its spread.
        """
        found = np.broadcast_to(np.asarray(steps, np.float64), self.deviation.shape)
        if not (np.isfinite(found) & (found > self.deviation * 2.0**-31)).all():
            raise InputError("The latents' steps are too fine for integers of 32 bits; choose a coarser target.")
        return freeze(
            self.decoder,
            steps=found / self.normalizer.typical_scale,
            spread=self.deviation / found,
            centre=self.normalizer.centre,
            scale=self.normalizer.scale,
            weight_noise=weight_noise,
        )

    def calibrated(self, rows: Array) -> Autoencoder:
        """The same with the latents' deviations and the hidden layers' powers measured on ``rows`` [n, D]."""
        inputs = self.analysis(rows) / self.normalizer.typical_scale
        deviation = np.sqrt(np.square(inputs).mean(axis=0)) * self.normalizer.typical_scale
        decoder = tuple(with_powers(path, inputs) for path in self.decoder)
        return replace(self, decoder=decoder, deviation=deviation)

    def truncated(self, latents: int) -> Autoencoder:
        """The same with its first ``latents`` latents only."""
        encoder = tuple((*path[:-1], path[-1].first_outputs(latents)) for path in self.encoder)
        decoder = tuple((path[0].first_inputs(latents), *path[1:]) for path in self.decoder)
        found = replace(self, encoder=encoder, decoder=decoder, deviation=self.deviation[:latents])
        return replace(found, coarseness=self.coarseness[:latents])

    def tensors(self) -> dict[str, Array]:
        """Float arrays for a model file; with ``settings`` all there is."""
        found = {f"normalizer.{name}": array for name, array in self.normalizer.tensors().items()}
        found |= {"deviation": self.deviation, "coarseness": self.coarseness, "course": self.course}
        return found | tensors_of(encoder=self.encoder, decoder=self.decoder)


def load_autoencoder(settings: Mapping[str, Any], tensors: Mapping[str, Array]) -> Autoencoder:
    """The autoencoder of ``settings`` and ``tensors``. Raises ModelError if they do not make one."""
    try:
        normalizer = Normalizer.from_tensors({name: tensors[f"normalizer.{name}"] for name in ("centre", "scale")})
        return Autoencoder(
            str(settings["kind"]),
            normalizer,
            paths_of("encoder", settings, tensors),
            paths_of("decoder", settings, tensors),
            tensors["deviation"],
            tensors.get("coarseness", np.zeros(0)),
            int(settings.get("active", 0)),
            tensors.get("course", np.zeros((0, 3))),
        )
    except (KeyError, TypeError, IndexError, ValueError) as err:
        raise ModelError("The file does not hold a whole autoencoder; fit the model again.") from err


def activations_of(**sides: tuple[Path, ...]) -> dict[str, Any]:
    """The activations of all layers, by side and path: plain JSON that ``paths_of`` needs beside the tensors."""
    return {side: [[layer.activation for layer in path] for path in paths] for side, paths in sides.items()}


def tensors_of(**sides: tuple[Path, ...]) -> dict[str, Array]:
    """The numbers of all layers for a model file."""
    return {
        f"{side}.{p}.{i}.{name}": array
        for side, paths in sides.items()
        for p, path in enumerate(paths)
        for i, layer in enumerate(path)
        for name, array in layer.tensors().items()
    }


def paths_of(side: str, settings: Mapping[str, Any], tensors: Mapping[str, Array]) -> tuple[Path, ...]:
    """The paths of a side that ``activations_of`` and ``tensors_of`` tell of."""
    return tuple(
        tuple(FloatLayer.from_tensors(tensors, f"{side}.{p}.{i}.", str(a)) for i, a in enumerate(activations))
        for p, activations in enumerate(settings[side])
    )


def run(paths: tuple[Path, ...], inputs: Array, device: str = "cpu") -> npt.NDArray[Any]:
    """Sum of the paths' outputs [n, out] for inputs [n, in], in the weights' precision, on a device of torch."""
    if device != "cpu":
        return _run_on(device, paths, inputs)
    total: npt.NDArray[Any] = sum(_chain(path, inputs)[-1] for path in paths)  # type: ignore[assignment]
    return total


def _run_on(device: str, paths: tuple[Path, ...], inputs: Array) -> npt.NDArray[Any]:
    import torch

    activations: dict[str, Callable[[torch.Tensor], torch.Tensor]]
    activations = {"linear": torch.positive, "relu": torch.relu, "sigmoid": torch.sigmoid}
    start = upload(inputs.astype(paths[0][0].weight.dtype, copy=False), device)
    total = torch.zeros((), device=start.device)
    for path in paths:
        x = start
        for layer in path:
            x = activations[layer.activation](x @ upload(layer.weight, device).T + upload(layer.bias, device))
        total = total + x
    found: npt.NDArray[Any] = total.cpu().numpy()
    return found


def slopes(paths: tuple[Path, ...], inputs: Array, wanted: Array) -> npt.NDArray[Any]:
    """Half the negative gradient [n, in] of the squared error of ``run(paths, inputs)`` to ``wanted`` [n, out].

    Layers are linear or ReLU.
    """
    chains = [_chain(path, inputs) for path in paths]
    missing = wanted - sum(chain[-1] for chain in chains)
    total: npt.NDArray[Any] = sum(_back(*pair, missing) for pair in zip(paths, chains, strict=True))  # type: ignore[assignment]
    return total


def _back(path: Path, outputs: list[Array], told: Array) -> Array:
    """``told`` [n, out] times the path's Jacobian where its layers gave ``outputs``: [n, in]."""
    for layer, output in zip(reversed(path), reversed(outputs), strict=True):
        told = (told * (output > 0) if layer.activation == "relu" else told) @ layer.weight
    return told


def _greatest(latents: Float64s, count: int) -> Float64s:
    """The ``count`` latents of each row [n, K] that are greatest in magnitude; zero for the others."""
    if count >= latents.shape[1]:
        return latents
    chosen = np.argpartition(-np.abs(latents), count - 1, axis=1)[:, :count]
    kept = np.zeros_like(latents)
    np.put_along_axis(kept, chosen, np.take_along_axis(latents, chosen, axis=1), axis=1)
    return kept


def _chain(path: Path, inputs: Array) -> list[Array]:
    """Outputs of every layer of a path."""
    outputs = []
    for layer in path:
        inputs = layer.apply(inputs)
        outputs.append(inputs)
    return outputs


def with_powers(path: Path, inputs: Array) -> Path:
    """The path with the mean square of every hidden layer's outputs noted in the layer that takes them."""
    powers = [np.square(hidden.astype(np.float64)).mean(axis=0) for hidden in _chain(path, inputs)[:-1]]
    return (path[0], *(replace(layer, input_power=power) for layer, power in zip(path[1:], powers, strict=True)))
