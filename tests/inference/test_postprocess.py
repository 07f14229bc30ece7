"""The rule from probabilities to masks, and that its areas mean the same at every size."""

import numpy as np
import pytest

from chestseg.config import Postprocessing
from chestseg.inference.postprocess import apply, image_mm2


def block(value: float, edge: int, size: int = 64) -> np.ndarray:
    """A square of `value` in a map of zeros."""
    found = np.zeros((size, size), np.float32)
    found[8 : 8 + edge, 8 : 8 + edge] = value
    return found


def test_threshold_itself_belongs_to_the_mask() -> None:
    mask = apply(block(0.5, 4), None, Postprocessing(threshold=0.5))
    assert mask.dtype == np.uint8 and mask.sum() == 16 and set(np.unique(mask)) == {0, 1}
    assert apply(block(0.4999, 4), None, Postprocessing(threshold=0.5)).sum() == 0


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_areas_scale_with_the_size(size: int) -> None:
    """A square of an eighth of the edge is 128 x 128 pixels at 1024."""
    found = block(0.9, size // 8, size)
    assert apply(found, None, Postprocessing(min_area=128 * 128)).any()
    assert not apply(found, None, Postprocessing(min_area=128 * 128 + 1)).any()


def test_triplet_keeps_the_wide_mask_where_its_core_is_sure_and_large() -> None:
    found = np.maximum(block(0.4, 16), block(0.8, 6))
    core = 6 * 6 * (1024 / 64) ** 2
    rule = Postprocessing(threshold=0.3, top_threshold=0.75, min_area=core)
    assert apply(found, None, rule).sum() == 16 * 16
    assert not apply(found, None, rule.model_copy(update={"min_area": core + 1})).any()


def test_top_threshold_without_area_asks_for_one_pixel() -> None:
    rule = Postprocessing(threshold=0.3, top_threshold=0.75)
    assert not apply(block(0.7, 16), None, rule).any()
    assert apply(np.maximum(block(0.7, 16), block(0.76, 1)), None, rule).any()


def test_head_that_sees_no_disease_empties_the_mask() -> None:
    rule = Postprocessing(empty_threshold=0.3)
    assert not apply(block(0.9, 16), 0.29, rule).any()
    assert apply(block(0.9, 16), 0.3, rule).any()
    assert apply(block(0.9, 16), 0.0, Postprocessing()).any()


def test_mask_is_drawn_at_the_source_size_without_a_shift() -> None:
    found = np.zeros((64, 64), np.float32)
    found[16:48, 32:] = 1
    mask = apply(found, None, Postprocessing(), (640, 320))
    rows, columns = np.nonzero(mask)
    assert mask.shape == (640, 320)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (160, 480, 160, 320)


def test_decision_does_not_depend_on_the_source_size() -> None:
    found = np.maximum(block(0.4, 16), block(0.8, 6))
    rule = Postprocessing(threshold=0.3, top_threshold=0.75, min_area=6 * 6 * (1024 / 64) ** 2)
    for size in [(64, 64), (100, 60), (2048, 1500)]:
        share = apply(found, None, rule, size).mean()
        assert share == pytest.approx(16 * 16 / 64**2, rel=0.1)


def test_area_in_the_patient_where_the_spacing_is_known() -> None:
    """A sixteenth of the image's edge and so 1/256 of its area: 500 mm² of 32x40 cm, 4096 pixels at 1024 without a spacing."""
    found = block(0.9, 4)
    shown = image_mm2((800, 640), (0.5, 0.5))
    assert shown == 128_000
    for least, kept in ((500, True), (500.1, False)):
        assert apply(found, None, Postprocessing(min_area=1e6, min_area_mm2=least), shown_mm2=shown).any() == kept
    for pixels, kept in ((4096, True), (4097, False)):
        assert apply(found, None, Postprocessing(min_area=pixels, min_area_mm2=1e6)).any() == kept
    assert image_mm2((800, 640), None) is None
