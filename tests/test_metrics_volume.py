"""Scores of volumes against hand-counted ones and other libraries, and the rules for empty masks."""

import math
import warnings

import numpy as np
import pytest
import SimpleITK
import surface_distance
import torch
from scipy.ndimage import gaussian_filter

from chestseg.config import Spacing
from chestseg.metrics_volume import TOLERANCE_MM, VolumeScore, VolumeSummary, compare_surfaces, score_volume, summarise_volumes

SHAPE = (14, 40, 44)
THICK = (5.0, 0.8, 0.7)


def blobs(seed: int, share: float = 0.05) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), (1, 3, 3))
    return smooth > np.quantile(smooth, 1 - share)


def boxes(*corners: tuple[int, int, int, int]) -> np.ndarray:
    """Cubes by first slice, row, column and edge."""
    mask = np.zeros(SHAPE, np.uint8)
    for z, y, x, edge in corners:
        mask[z : z + edge, y : y + edge, x : x + edge] = 1
    return mask


def scored(prediction: np.ndarray, truth: np.ndarray, spacing: Spacing = (5.0, 2.0, 2.0)) -> VolumeScore:
    return score_volume("case", "ricord", prediction, truth, spacing)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), THICK])
@pytest.mark.parametrize("seed", range(4))
def test_surfaces_are_those_of_the_library(seed: int, spacing: Spacing) -> None:
    prediction, truth = blobs(seed), blobs(seed + 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SciPy's old names, which only this function of it calls
        found = surface_distance.compute_surface_distances(truth, prediction, spacing)
    hd95, nsd = compare_surfaces(prediction, truth, spacing)
    assert hd95 == pytest.approx(surface_distance.compute_robust_hausdorff(found, 95), rel=1e-9)
    assert nsd == pytest.approx(surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE_MM), rel=1e-9)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's, of a call of its own
@pytest.mark.parametrize("seed", range(4))
def test_surfaces_against_monai(seed: int) -> None:
    """Its surface Dice weighs the same elements; its HD95 takes voxels, not elements between them."""
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    prediction, truth = blobs(seed), blobs(seed + 100)
    one, other = (torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32)) for mask in (prediction, truth))
    hd95, nsd = compare_surfaces(prediction, truth, THICK)
    theirs = compute_surface_dice(one, other, [TOLERANCE_MM], spacing=THICK, use_subvoxels=True)
    assert nsd == pytest.approx(theirs.item(), abs=1e-4)
    assert hd95 == pytest.approx(compute_hausdorff_distance(one, other, percentile=95, spacing=THICK).item(), abs=math.hypot(*THICK))


@pytest.mark.parametrize("seed", range(4))
def test_overlap_and_volume_against_simpleitk(seed: int) -> None:
    prediction, truth = blobs(seed), blobs(seed + 100, share=0.08)
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, truth)]
    for image in images:
        image.SetSpacing(THICK[::-1])
    measure = SimpleITK.LabelOverlapMeasuresImageFilter()
    measure.Execute(*images)
    found = scored(prediction, truth, THICK)
    assert found.dice == pytest.approx(measure.GetDiceCoefficient()) and found.iou == pytest.approx(measure.GetJaccardCoefficient())
    shapes = [SimpleITK.LabelShapeStatisticsImageFilter() for _ in images]
    for shape, image in zip(shapes, images, strict=True):
        shape.Execute(image)
    predicted, true = (shape.GetPhysicalSize(1) / 1000 for shape in shapes)
    assert (found.predicted_ml, found.truth_ml) == pytest.approx((predicted, true))
    assert found.volume_error_ml == pytest.approx(predicted - true)


@pytest.mark.parametrize(("axis", "distance"), [(0, 5.0), (1, 0.8), (2, 0.7)])
def test_distances_are_millimetres_along_each_axis(axis: int, distance: float) -> None:
    """A slab moved by a voxel: all its faces but those at the array's ends lie that far away."""
    slab = np.zeros(SHAPE, bool)
    slab[tuple(slice(4, 10) if a == axis else slice(None) for a in range(3))] = True
    hd95, nsd = compare_surfaces(np.roll(slab, 1, axis), slab, THICK)
    assert hd95 == pytest.approx(distance)
    assert nsd is not None and (nsd == pytest.approx(1) if distance <= TOLERANCE_MM else nsd < 0.7)


def test_equal_masks_agree_wherever_they_touch_the_volumes_end() -> None:
    for mask in (blobs(1), np.ones(SHAPE, bool), boxes((0, 0, 0, 1)).astype(bool)):
        assert compare_surfaces(mask, mask, THICK) == (0.0, 1.0)


def test_scores_do_not_depend_on_room_around_the_masks() -> None:
    prediction, truth = blobs(2), blobs(3)
    wide = [np.pad(mask, ((3, 0), (0, 9), (20, 1))) for mask in (prediction, truth)]
    assert scored(*wide, THICK) == scored(prediction, truth, THICK)


def test_any_value_but_zero_is_foreground() -> None:
    prediction, truth = blobs(2), blobs(3)
    assert scored(prediction * np.uint8(255), truth * np.uint8(3)) == scored(prediction, truth)


def test_both_empty() -> None:
    found = scored(boxes(), boxes())
    assert (found.dice, found.iou, found.hd95_mm, found.nsd, found.volume_error_ml) == (1.0, 1.0, None, None, 0.0)
    assert not found.positive and not found.present and (found.lesions, found.lesions_found, found.false_lesions) == (0, 0, 0)


def test_one_empty() -> None:
    missed, invented = scored(boxes(), boxes((2, 5, 5, 4))), scored(boxes((2, 5, 5, 4)), boxes())
    for found in (missed, invented):
        assert (found.dice, found.iou, found.hd95_mm, found.nsd) == (0.0, 0.0, None, 0.0)
    assert (missed.positive, missed.present, missed.lesions, missed.lesions_found) == (True, False, 1, 0)
    assert (invented.positive, invented.present, invented.false_lesions) == (False, True, 1)
    assert (missed.volume_error_ml, invented.volume_error_ml) == pytest.approx((-1.28, 1.28))


def test_lesions_are_counted_one_by_one() -> None:
    truth = boxes((0, 0, 0, 4), (0, 20, 20, 4), (8, 0, 20, 5))
    prediction = boxes((0, 1, 1, 4), (8, 4, 24, 1), (8, 30, 0, 4), (8, 30, 10, 4))
    found = scored(prediction, truth)
    # The third is met by a corner only, less than a tenth of it; what meets it is not false, nor large enough to be.
    assert (found.lesions, found.lesions_found, found.false_lesions) == (3, 1, 2)


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    assert scored(boxes((0, 0, 0, 4)), boxes((0, 0, 0, 4), (4, 4, 4, 4))).lesions == 1


def test_specks_are_no_lesions() -> None:
    found = scored(boxes((8, 30, 30, 1)), boxes((0, 0, 0, 4), (8, 0, 20, 1)))
    assert (found.lesions, found.false_lesions) == (1, 0)


def test_summary_of_a_mixed_split() -> None:
    rows = [
        VolumeScore("a", "s", 100.0, 80.0, -20.0, 0.6, 0.4, 12.0, 0.7, 4, 3, 1),
        VolumeScore("b", "s", 10.0, 0.0, -10.0, 0.0, 0.0, None, 0.0, 1, 0, 0),
        VolumeScore("c", "s", 0.0, 0.0, 0.0, 1.0, 1.0, None, None, 0, 0, 0),
        VolumeScore("d", "s", 0.0, 6.0, 6.0, 0.0, 0.0, None, 0.0, 0, 0, 3),
    ]
    assert summarise_volumes(rows) == VolumeSummary(
        n=4,
        n_positive=2,
        mean_dice=pytest.approx(0.4),
        dice_positives=pytest.approx(0.3),
        sensitivity=0.5,
        specificity=0.5,
        all_empty=0.5,
        iou_positives=pytest.approx(0.2),
        hd95_mm=12.0,
        nsd=pytest.approx(0.7 / 3),
        volume_error_ml=-6.0,
        absolute_volume_error_ml=9.0,
        lesion_sensitivity=0.6,
        false_lesions=1.0,
    )


def test_nothing_to_average_over_is_none_and_no_metric() -> None:
    empty = summarise_volumes([scored(boxes(), boxes())])
    assert (empty.dice_positives, empty.hd95_mm, empty.nsd, empty.lesion_sensitivity) == (None,) * 4
    assert set(empty.metrics()) == {
        "n", "n_positive", "mean_dice", "specificity", "all_empty", "volume_error_ml", "absolute_volume_error_ml", "false_lesions"
    }  # fmt: skip
    assert summarise_volumes([]).metrics() == {"n": 0.0, "n_positive": 0.0}
