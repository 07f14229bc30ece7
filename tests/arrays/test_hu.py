"""What can be HU passes as it is, what a window turns into HU is exact, and what is neither is refused."""

import numpy as np
import pytest

from chestseg.arrays.hu import Greys, require_hu


@pytest.mark.parametrize("values", [np.array([-1024, 3000]), np.array([-200.0]), np.full((2, 3, 4), -850, np.int16)])
def test_what_may_be_a_chest_passes(values: np.ndarray) -> None:
    require_hu(values)
    with pytest.raises(ValueError, match="are not HU"):
        require_hu(values + 2000)  # the same without air


@pytest.mark.parametrize("values", [np.array([0, 4095], np.uint16), np.array([0.0, 1.0]), np.array([-199, 500])])
def test_values_without_air_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=f"values from {values[0]:g} to {values[1]:g} are not HU, which for air are near -1000"):
        require_hu(values)


def test_the_ends_of_a_window_become_its_hu() -> None:
    greys = Greys((0, 255), (-1250, 250))
    stored = np.array([[0, 51, 255]], np.uint8)
    hu = greys.to_hu(stored)
    assert hu.dtype == np.float32 and stored.tolist() == [[0, 51, 255]]
    np.testing.assert_allclose(hu, [[-1250, -950, 250]], atol=1e-3)
    assert greys.note == "values 0 to 255 taken as -1250 to 250 HU"


@pytest.mark.parametrize(("value", "fits"), [(257.5, True), (258.0, False), (-2.5, True), (-3.0, False)])
def test_a_hundredth_beyond_is_interpolation_and_more_is_another_window(value: float, fits: bool) -> None:
    greys = Greys((0, 255), (-1000, 400), "--window")
    if fits:
        assert np.isfinite(greys.to_hu(np.array([value]))).all()
    else:
        with pytest.raises(ValueError, match=r"go beyond --window \[0, 255\]: correct it, or leave it out if they are HU"):
            greys.to_hu(np.array([value]))
