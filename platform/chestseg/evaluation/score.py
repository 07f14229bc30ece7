"""Scores of a predictor on a prepared dataset, of either kind."""

from collections.abc import Sequence

import numpy as np

from chestseg.data.prepared import PreparedDataset
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.data.prepared_volumes import PreparedVolumes
from chestseg.evaluation.evaluate import EvaluationResult, evaluate
from chestseg.evaluation.volumes import VolumeEvaluation, evaluate_volumes
from chestseg.inference.predictor import Predictor
from chestseg.inference.volume_predictor import VolumePredictor


def score(
    predictor: Predictor | VolumePredictor, dataset: PreparedDataset, indices: Sequence[int] | np.ndarray, progress: bool = False
) -> EvaluationResult | VolumeEvaluation:
    """Segment cases and compare with their masks, as `evaluate` and `evaluate_volumes` say.

    Raises:
        ValueError: as these do, or a model of the other track.
    """
    match predictor, dataset:
        case Predictor(), PreparedRadiographs():
            return evaluate(predictor, dataset, indices, progress=progress)
        case VolumePredictor(), PreparedVolumes():
            return evaluate_volumes(predictor, dataset, indices, progress=progress)
    raise other_track(predictor, dataset)


def other_track(predictor: Predictor | VolumePredictor, dataset: PreparedDataset) -> ValueError:
    """The error of a model that is not of the dataset's kind."""
    kind = "volumes" if isinstance(predictor, VolumePredictor) else "radiographs"
    return ValueError(f"{dataset.folder} holds {dataset.KIND}, the model segments {kind}: give a model and a dataset of one track")
