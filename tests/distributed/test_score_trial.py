"""The end of a trial, without the training before it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from chestseg.bundle import load_bundle
from chestseg.config import load_experiment
from chestseg.distributed.score_trial import Scoring, score_trial, timed_image
from chestseg.evaluation.conclude import BUNDLE
from chestseg.models.registry import build_model
from chestseg.training.run import FINAL, write_weights
from chestseg.tuning.result import RULE
from tests.evaluation.prepared import write_prepared
from tests.inference.tiny_volume import PREPROCESSING, tiny_spec
from tests.small_job import small_job, write_job


@pytest.mark.slow
def test_a_chosen_rule_is_told_with_the_score(tmp_path: Path) -> None:
    dataset = write_prepared(tmp_path / "prepared")
    job = small_job(tmp_path, "scored", [{"size": 64, "epochs": 1, "batch": 2}], data={"sizes": [64, 128]})
    path = write_job(tmp_path, job)
    experiment = load_experiment(path, ["choose={name: mean_dice}"])
    folder = Path(experiment.run_folder)
    torch.manual_seed(0)
    write_weights(build_model(experiment.model), folder / FINAL)
    scored = score_trial(experiment, dataset, Scoring("val_dice"), torch.device("cpu"))
    assert scored.extra[RULE] == load_bundle(folder / BUNDLE).spec.postprocessing.model_dump(mode="json")


def test_volumes_that_are_timed_are_as_large_in_millimetres_at_every_spacing() -> None:
    for spacing, shape in (((4.0, 4.0, 4.0), (15, 88, 88)), ((10.0, 2.5, 5.0), (6, 140, 70)), ((30.0, 5.0, 5.0), (4, 70, 70))):
        spec = tiny_spec().model_copy(update={"preprocessing": PREPROCESSING.model_copy(update={"spacing": spacing})})
        image = timed_image(spec)
        assert image.shape == shape and image.dtype == np.uint8 and image.any()
