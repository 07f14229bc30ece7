"""Preprocessing is a resize and an affine map."""

import numpy as np
import pytest
import torch

from chestseg.preprocessing import Preprocessing


def test_normalise_is_the_formula() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    torch.testing.assert_close(Preprocessing(size=64).normalise(values), (values.float() / 255 - 0.449) / 0.226)


def test_resize_gives_a_square() -> None:
    assert Preprocessing(size=64).resize(np.zeros((300, 200), np.uint8)).shape == (64, 64)


def test_a_size_the_encoder_cannot_halve_five_times_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        Preprocessing(size=100)
