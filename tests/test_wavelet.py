"""The wavelet of models up to version 3, which are only read; golden archives hold one."""

from __future__ import annotations

import numpy as np
import pytest

from aecompress.errors import CorruptError
from aecompress.spec import Array
from aecompress.wavelet import Wavelet


def test_a_low_coefficient_comes_back_smooth() -> None:
    coefficients = np.zeros((32, 48), np.int64)
    coefficients[2, 3] = 1000
    found = Wavelet(2, np.full((3, 4), 7, np.int64)).inverse(coefficients)
    assert found.max() > 1000
    assert np.abs(np.diff(found, axis=0)).max() < found.max() / 2
    assert not found[20:, 30:].any()


@pytest.mark.parametrize("steps", [np.zeros((3, 4), np.int64), np.full((3, 4), 2**31), np.ones((2, 4), np.int64)])
def test_impossible_stored_transforms_are_refused(steps: Array) -> None:
    with pytest.raises(CorruptError):
        Wavelet.checked(2, steps)
