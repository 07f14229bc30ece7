"""The end of a run: final weights become a bundle with its scores, its golden case, and pictures to look at."""

from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from chestseg.arrays.overlay import overlay
from chestseg.bundle import Bundle, BundleSpec, build_network, save_bundle
from chestseg.config import Experiment
from chestseg.data.phantom import make_phantom
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.evaluate import EvaluationResult, evaluate
from chestseg.evaluation.table import write_cases, write_summary
from chestseg.files import whole_file
from chestseg.inference.golden import make_golden
from chestseg.inference.predictor import LiveModel, Predictor
from chestseg.preprocessing import Preprocessing
from chestseg.tracking.provenance import code_version

GOLDEN_PHANTOM = 20
"""Seed of the golden case's phantom."""
PICTURES = 4
BUNDLE = "bundle"
"""Name of the bundle's folder in the run's."""


def conclude(experiment: Experiment, weights: Path, device: torch.device) -> Bundle:
    """Score final weights on the validation fold and the frozen test split, and write the bundle into the run's folder.

    Beside the bundle lie `evaluation/SPLIT/cases.csv`, `summary.json` and overlays of the worst and best positive cases.
    """
    dataset = PreparedDataset.open(experiment.data.prepared)
    preprocessing = Preprocessing(size=experiment.stages[-1].size)
    tensors = load_file(weights)
    network = build_network(experiment.model, tensors, where=str(weights)).to(device)
    predictor = Predictor(LiveModel(network, preprocessing, experiment.postprocessing))
    folder = Path(experiment.run_folder)
    metrics: dict[str, float] = {}
    for split, indices in held_out(experiment, dataset).items():
        result = evaluate(predictor, dataset, indices)
        write_cases(folder / "evaluation" / split / "cases.csv", result.rows)
        write_summary(folder / "evaluation" / split / "summary.json", result, {"split": split, "dataset_hash": dataset.hash})
        draw_cases(predictor, dataset, indices, result, folder / "evaluation" / split)
        metrics |= {f"{split}_{key}": value for key, value in result.summary.metrics().items()}
    spec = BundleSpec(
        name=experiment.tracking.model or experiment.name,
        track=experiment.track,
        code_version=code_version(),
        model=experiment.model,
        preprocessing=preprocessing,
        postprocessing=experiment.postprocessing,
        metrics=metrics,
        dataset_hash=dataset.hash,
        experiment=experiment.model_dump(mode="json", exclude={"storage": True, "tracking": True, "data": {"prepared", "sources"}}),
    )
    image, _ = make_phantom(GOLDEN_PHANTOM, 512, True)
    return save_bundle(folder / BUNDLE, spec, tensors, make_golden(spec, tensors, image))


def held_out(experiment: Experiment, dataset: PreparedDataset) -> dict[str, np.ndarray]:
    """The splits an experiment did not train on, where they have cases."""
    splits = {"test": dataset.indices("test")}
    if experiment.fold != "all":
        splits["validation"] = dataset.indices("train", fold=experiment.fold)
    return {name: indices for name, indices in splits.items() if len(indices)}
