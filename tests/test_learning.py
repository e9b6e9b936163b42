"""How the network of a context model learns: gradients are those of autograd, steps those of their papers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from aecompress.context.learning import (
    Adam,
    Batch,
    Learner,
    Orthogonal,
    Weights,
    code_length,
    descend,
    price,
)
from aecompress.context.network import COMPONENTS, MOST_UNIT, MOST_WEIGHT, OUTPUTS, UNIT_BITS, WEIGHT_BITS
from aecompress.spec import Array

GUESSES = slice(20, 22)


def batch(many: int, channels: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        rng.integers(-127, 128, (many, 28)).astype(np.int8),
        rng.normal(0, 3, many).astype(np.float32),
        np.exp(rng.normal(size=many)).astype(np.float32),
        rng.integers(0, channels, many),
    )


def weights(channels: int, seed: int) -> Weights:
    """A network of 16 units somewhere on its way."""
    found, rng = Weights.fresh(28, 16, channels, seed), np.random.default_rng(seed)
    for part in found.parts():
        part += rng.normal(0, 0.2, part.shape).astype(np.float32)
    return found


def bits_of(outputs: torch.Tensor, rest: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Bits of cells as the definition of a mixture of logistics has them; in float64."""
    logits, means, scales = outputs.reshape(3, COMPONENTS, -1)
    scale = torch.clamp(size * 2.0 ** (torch.clamp(scales, -7, 5.9) - 1), min=2.0**-6)
    away = -(rest - means * size).abs()
    chance = torch.sigmoid((away + 0.5) / scale) - torch.sigmoid((away - 0.5) / scale)
    return -torch.log2((torch.softmax(logits, 0) * chance).sum(0) + 2.0**-22).sum()


class Rectified(torch.autograd.Function):
    """ReLU of whole steps, whose gradients pass between its two ends."""

    @staticmethod
    def forward(ctx, sums):
        steps = torch.clamp(torch.floor(sums * 2**UNIT_BITS), 0, MOST_UNIT)
        ctx.save_for_backward((steps > 0) & (steps < MOST_UNIT))
        return steps / 2**UNIT_BITS

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0]


def by_autograd(known: Weights, told: Batch) -> tuple[float, list[Array]]:
    parts = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in known.parts()]
    first, first_bias, second, second_bias, last, last_bias = parts
    x = torch.tensor(told.inputs / 2**UNIT_BITS, dtype=torch.float64)
    one = Rectified.apply(x @ first + first_bias[torch.from_numpy(told.channel)])
    two = Rectified.apply(one @ second + second_bias)
    outputs = (torch.cat([two, x[:, GUESSES]], 1) @ last + last_bias).T
    bits = bits_of(outputs, torch.from_numpy(told.rest).double(), torch.from_numpy(told.size).double())
    bits.backward()
    return bits.item(), [part.grad.numpy() for part in parts]


def close(found: Array, wanted: Array) -> bool:
    return bool(np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max() + 1e-6)


@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_code_length_and_its_gradients(spread: float) -> None:
    rng = np.random.default_rng(0)
    outputs = (rng.normal(size=(OUTPUTS, 500)) * spread).astype(np.float32)
    told = batch(500, 1, 1)
    bits, gradient = code_length(outputs, told.rest, told.size)
    known = torch.tensor(outputs, dtype=torch.float64, requires_grad=True)
    wanted = bits_of(known, torch.from_numpy(told.rest).double(), torch.from_numpy(told.size).double())
    wanted.backward()
    assert bits == pytest.approx(wanted.item(), rel=1e-4)
    assert close(gradient, known.grad.numpy())


@pytest.mark.parametrize("channels", [1, 5])
def test_gradients_of_weights(channels: int) -> None:
    known, told = weights(channels, 2).rounded(), batch(700, channels, 3)
    bits, gradients = descend(known, told, GUESSES)
    wanted_bits, wanted = by_autograd(known, told)
    assert bits == pytest.approx(wanted_bits, rel=1e-4)
    for found, right in zip(gradients.parts(), wanted, strict=True):
        assert close(found, right)


def test_weights_pay_for_their_bits() -> None:
    known, total = weights(1, 4), 1000
    gradients = Weights(*(np.zeros_like(part) for part in known.parts()))
    before = price(known, gradients, total)
    known.first[3, 5] += 2.0**-6
    more = price(known, Weights(*(np.zeros_like(part) for part in known.parts())), total) - before
    assert more == pytest.approx(gradients.first[3, 5] * 2.0**-6, rel=0.2)
    assert not gradients.second_bias.any()
    assert not gradients.last_bias.any()


def test_orthogonal_steps() -> None:
    matrix = np.zeros((40, 16), np.float32)
    gradient = np.random.default_rng(5).normal(size=matrix.shape).astype(np.float32)
    Orthogonal(matrix).step(gradient, 1.0)
    sizes = np.linalg.svd(matrix, compute_uv=False) / (1.2e-2 * np.sqrt(40 / 16))
    assert sizes.min() > 0.5
    assert sizes.max() < 1.5
    assert (gradient * matrix).sum() < 0, "downwards"


def test_a_first_step_of_adam_is_as_long_for_every_number() -> None:
    part, gradient = np.zeros(4, np.float32), np.array([3.0, -0.5, 1e-3, 100.0], np.float32)
    Adam([part]).step([gradient], 0.5)
    assert np.allclose(part, -0.5e-2 * np.sign(gradient), rtol=1e-4)


def test_both_halves_in_one_thread_make_the_same_weights() -> None:
    told = batch(901, 3, 6)
    with ThreadPoolExecutor(1) as pool:
        found = [Learner(weights(3, 7), GUESSES, 10_000, which) for which in (pool, None)]
        bits = [[learner.step(told, 1.0) for _ in range(5)] for learner in found]
    assert bits[0] == bits[1]
    for one, other in zip(*(learner.weights.parts() for learner in found), strict=True):
        assert np.array_equal(one, other)


def test_learning_takes_fewer_bits_and_keeps_within_what_an_integer_network_has() -> None:
    told = batch(2000, 1, 8)
    learner = Learner(weights(1, 9), GUESSES, 10**9, None)
    learner.weights.first[:] = 10.0
    bits = [learner.step(told, 1.0) for _ in range(60)]
    assert bits[-1] < 0.9 * bits[0]
    network = learner.weights.integers()
    assert np.abs(network.first).max() <= MOST_WEIGHT
    assert np.array_equal(network.first, np.rint(learner.weights.rounded().first * 2**WEIGHT_BITS))
