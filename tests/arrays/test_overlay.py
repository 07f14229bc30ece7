"""Overlays leave the image alone outside the masks and tell prediction from truth."""

import numpy as np

from chestseg.arrays.overlay import PREDICTION, TRUTH, overlay

IMAGE = np.full((64, 48), 100, np.uint8)


def square(top: int, left: int, edge: int) -> np.ndarray:
    mask = np.zeros(IMAGE.shape, np.uint8)
    mask[top : top + edge, left : left + edge] = 1
    return mask


def test_empty_masks_leave_the_image() -> None:
    picture = overlay(IMAGE, np.zeros_like(IMAGE), np.zeros_like(IMAGE))
    assert picture.shape == (64, 48, 3) and picture.dtype == np.uint8
    assert (picture == 100).all()


def test_prediction_is_outlined_and_filled_through_which_the_image_shows() -> None:
    picture = overlay(IMAGE, square(10, 10, 20))
    assert tuple(picture[10, 10]) == PREDICTION
    inside = picture[20, 20].astype(int)
    assert inside[0] > 100 > inside[2] and abs(inside - 100).max() < 60
    assert (picture[40:] == 100).all()


def test_truth_is_an_outline_of_another_colour() -> None:
    picture = overlay(IMAGE, np.zeros_like(IMAGE), square(30, 20, 10))
    assert tuple(picture[30, 20]) == TRUTH
    assert (picture[35, 25] == 100).all()


def test_mask_values_and_image_are_left_as_they_were() -> None:
    image, mask = IMAGE.copy(), square(0, 0, 64 // 2) * 255
    assert (overlay(image, mask) == overlay(image, mask // 255)).all()
    assert (image == IMAGE).all()


def test_hole_in_a_mask_is_outlined_and_not_filled() -> None:
    picture = overlay(IMAGE, square(4, 4, 40) - square(14, 14, 20))
    assert (picture[24, 24] == 100).all()
