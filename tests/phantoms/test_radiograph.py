"""Phantoms: the same bytes from the same seed, the look of a radiograph, and a task that no threshold solves."""

import cv2
import numpy as np
import pytest

from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.metrics import dice
from chestseg.phantoms.radiograph.make import make_phantom
from chestseg.phantoms.radiograph.pleura import BOTH_SIDES
from chestseg.phantoms.radiograph.render import air_mask
from chestseg.phantoms.radiograph.scene import draw_scene
from chestseg.phantoms.radiograph.shapes import Canvas, Pose


@pytest.fixture(scope="module")
def positives() -> list[tuple[np.ndarray, np.ndarray]]:
    return [make_phantom(seed, 128, True) for seed in range(40)]


def test_equal_arguments_give_equal_bytes_and_another_seed_another_chest():
    picture, mask = make_phantom(3, 96)
    again, mask_again = make_phantom(3, 96)
    other, _ = make_phantom(4, 96)
    assert picture.tobytes() == again.tobytes()
    assert mask.tobytes() == mask_again.tobytes()
    assert np.mean(picture != other) > 0.5


def test_picture_and_mask_have_the_promised_form():
    picture, mask = make_phantom(5, 100)
    assert picture.shape == mask.shape == (100, 100)
    assert picture.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}


def test_a_negative_has_an_empty_mask():
    assert not make_phantom(5, 96, False)[1].any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_another_size_shows_the_same_chest(seed: int):
    large, large_mask = make_phantom(seed, 1024)
    small, small_mask = make_phantom(seed, 128)
    shrunk = resize_image(large, 128)
    assert np.abs(shrunk.astype(int) - small).mean() < 3
    assert dice(resize_mask(large_mask, 128), small_mask) > 0.93


def test_grey_values_are_those_of_a_radiograph(positives: list[tuple[np.ndarray, np.ndarray]]):
    medians = [np.median(picture) for picture, _ in positives]
    darkest = [np.percentile(picture, 1) for picture, _ in positives]
    brightest = [np.percentile(picture, 99) for picture, _ in positives]
    assert 60 < np.mean(medians) < 180
    assert np.max(darkest) < 40
    assert np.min(brightest) > 120


def test_masks_run_from_small_caps_to_large_collapses_on_both_sides(positives: list[tuple[np.ndarray, np.ndarray]]):
    area = np.array([mask.mean() for _, mask in positives])
    centre = np.array([np.nonzero(mask)[1].mean() / mask.shape[1] for _, mask in positives])
    assert 0.002 < area.min() < 0.015
    assert area.max() > 0.06
    assert 8 < (centre < 0.5).sum() < 32


def test_the_best_global_threshold_fails(positives: list[tuple[np.ndarray, np.ndarray]]):
    inside = np.stack([np.bincount(picture[mask > 0], minlength=256) for picture, mask in positives])
    everywhere = np.stack([np.bincount(picture.ravel(), minlength=256) for picture, _ in positives])
    area = inside.sum(1, keepdims=True)
    hit, chosen = inside.cumsum(1), everywhere.cumsum(1)
    darker = 2 * hit / (chosen + area)
    brighter = 2 * (area - hit) / (128 * 128 - chosen + area)
    assert max(darker.mean(0).max(), brighter.mean(0).max()) < 0.3


def test_markings_are_absent_in_pleural_air():
    """The same chest with and without its pneumothorax: what is gone is texture, more than brightness."""
    ratios = []
    for seed in range(6):
        picture, mask = make_phantom(seed, 256, True)
        inner = cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0
        healthy, _ = make_phantom(seed, 256, False)
        fine = [np.abs(p - cv2.GaussianBlur(p, (0, 0), 2))[inner].mean() for p in (picture.astype(np.float32), healthy.astype(np.float32))]
        ratios.append(fine[0] / fine[1])
    assert np.median(ratios) < 0.9


def test_the_pleural_line_is_brighter_than_the_air_beyond_it():
    steps = []
    for seed in range(6):
        picture, mask = make_phantom(seed, 256, True)
        scene = draw_scene(seed, True)
        canvas = Canvas(256, scene.pose)
        air = cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0
        near = canvas.inside(scene.pneumothoraces[0].collapsed) & (cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0) & (mask == 0)
        steps.append(float(picture[near].mean()) - float(picture[air].mean()))
    assert np.median(steps) > 8


def test_pictures_of_one_patient_share_build_and_vessels_but_not_exposure():
    one, two = (draw_scene(seed, False, patient_seed=7) for seed in (1, 2))
    assert one.thorax.patient == two.thorax.patient
    assert one.exposure != two.exposure
    assert len(one.vessels) == pytest.approx(len(two.vessels), rel=0.1)


def test_some_patients_have_air_on_both_sides():
    scenes = [draw_scene(seed, True) for seed in range(40)]
    both = [scene for scene in scenes if len(scene.pneumothoraces) == 2]
    assert 0 < len(both) < 3 * BOTH_SIDES * len(scenes)
    mask = air_mask(both[0], Canvas(128, Pose()))
    assert mask[:, :64].any()
    assert mask[:, 64:].any()


def test_views_sexes_and_look_alikes_vary():
    scenes = [draw_scene(seed, False) for seed in range(24)]
    assert {scene.thorax.view for scene in scenes} == {"AP", "PA"}
    assert {scene.thorax.patient.sex for scene in scenes} == {"F", "M"}
    assert any(scene.decoys.folds for scene in scenes)
    assert any(scene.decoys.fadings for scene in scenes)
    assert any(scene.decoys.strokes for scene in scenes)


@pytest.mark.parametrize("size", [0, 32, 100_000])
def test_a_size_out_of_range_is_refused(size: int):
    with pytest.raises(ValueError, match=f"size {size}: phantoms are drawn from 64"):
        make_phantom(0, size)
