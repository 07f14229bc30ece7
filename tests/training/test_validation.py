"""Masks of different stages are compared on one grid: a stage's own, or another to which probabilities are interpolated."""

import numpy as np
import pytest

from chestseg.arrays.resample import resample_image
from chestseg.arrays.resize import resize_image
from chestseg.config import CtExperiment, CxrExperiment, Experiment, experiment_from
from chestseg.preprocessing import preprocessing_of
from chestseg.training.engine import Engine
from chestseg.training.group import Group
from chestseg.training.run import training_cases
from chestseg.training.validation import overlaps, probabilities, validate
from tests.inference.tiny import Brightness
from tests.training.arrays_in_memory import ArraysInMemory, small_experiment
from tests.training.volumes_in_memory import COARSE, FINE, VolumesInMemory, small_ct_experiment

TRACKS = {
    "cxr": (small_experiment(), ArraysInMemory(), (32, 64)),
    "ct": (small_ct_experiment(), VolumesInMemory(), (COARSE, FINE)),
}
"""An experiment, its cases, and the resolutions of its two stages."""


def engine_of(experiment: Experiment, stage: int) -> Engine:
    """Of a network that answers with the pixel's brightness, so with a mask of what is white in these cases."""
    config = experiment.stages[stage]
    preprocessing = preprocessing_of(config, experiment.data)
    return Engine(Brightness(), config, experiment.training, preprocessing, Group(), (0, stage))


@pytest.mark.parametrize("track", TRACKS)
def test_a_coarse_stage_is_compared_on_the_fine_grid_as_prediction_would_interpolate_it(track: str) -> None:
    experiment, arrays, (coarse, fine) = TRACKS[track]
    engine = engine_of(experiment, 0)
    case = int(np.flatnonzero(arrays.positive)[0])
    engine.network.eval()
    [found] = [one.numpy() for one in probabilities(engine, arrays, [case])]
    truth = arrays.mask(case, fine)
    assert found.shape == arrays.mask(case, coarse).shape != truth.shape
    enlarged = resize_image(found, 64) if track == "cxr" else resample_image(found, truth.shape)
    predicted = enlarged > 0.5
    expected = [(predicted & (truth > 0)).sum(), predicted.sum(), truth.sum()]
    np.testing.assert_allclose(overlaps(engine, arrays, np.array([case]), fine)[0], expected, atol=2)


@pytest.mark.parametrize("track", TRACKS)
def test_the_stages_own_grid_is_the_default_and_truths_are_read_at_the_grid_named(track: str) -> None:
    experiment, arrays, grids = TRACKS[track]
    cases = np.arange(len(arrays.positive))
    truths = {grid: [int(arrays.mask(int(case), grid).sum()) for case in cases] for grid in grids}
    for stage, own in enumerate(grids):
        engine = engine_of(experiment, stage)
        assert np.array_equal(overlaps(engine, arrays, cases), overlaps(engine, arrays, cases, own))
        for grid in grids:
            assert overlaps(engine, arrays, cases, grid)[:, 2].tolist() == truths[grid]
            assert validate(engine, arrays, cases, grid)["val_dice_positives"] > 0.8


@pytest.mark.parametrize("track", TRACKS)
def test_a_run_takes_the_grid_from_its_experiment(track: str) -> None:
    experiment, arrays, (_, fine) = TRACKS[track]
    on_fine = experiment.model_copy(update={"training": experiment.training.model_copy(update={"compare_at": fine})})
    assert training_cases(experiment, arrays).compare_at is None
    assert training_cases(on_fine, arrays).compare_at == fine
    early = any(stage.early_stop for stage in experiment.stages)
    assert (on_fine.digest != experiment.digest) is early, "weights depend on it only where it decides when a stage ends"


@pytest.mark.parametrize(
    ("experiment", "at", "told"),
    [
        (small_experiment(), 128, "training.compare_at 128: give an edge in pixels, at most 64 as in data.sizes"),
        (small_experiment(), [4.0, 2.0, 2.0], "give an edge in pixels"),
        (small_ct_experiment(), [4.0, 3.0, 3.0], "give one of data.spacings"),
        (small_ct_experiment(), 64, "training.compare_at 64: give one of data.spacings"),
    ],
)
def test_a_grid_that_was_not_prepared_is_refused(experiment: CxrExperiment | CtExperiment, at: object, told: str) -> None:
    tree = experiment.model_dump(mode="json")
    tree["training"]["compare_at"] = at
    with pytest.raises(ValueError, match=told):
        experiment_from(tree)
