"""The end of a run: final weights become a bundle with its scores, its golden case, and pictures to look at."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from chestseg.bundle import Bundle, BundleSpec, build_network, save_bundle
from chestseg.config import Experiment
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.card import model_card
from chestseg.evaluation.choose import choose
from chestseg.evaluation.pictures import draw_cases
from chestseg.evaluation.probabilities import TrainedNetwork
from chestseg.evaluation.score import score
from chestseg.evaluation.summary import ScoreTable
from chestseg.evaluation.write import intervals_of, values_of, write_evaluation
from chestseg.evaluation.write_probabilities import write_probabilities
from chestseg.files import sha256_of
from chestseg.inference.golden import make_golden
from chestseg.inference.predictor import LiveModel
from chestseg.inference.predictors import predictor_of
from chestseg.phantoms.ct.make import make_ct_phantom
from chestseg.phantoms.radiograph.make import make_phantom
from chestseg.preprocessing import VolumePreprocessing, preprocessing_of
from chestseg.tracking.provenance import code_version

GOLDEN_PHANTOM = 20
"""Seed of the golden case's phantom."""
GOLDEN_SIZE = 512
GOLDEN_SHAPE = (24, 96, 96)
LABELS = {"cxr": ("pneumothorax",), "ct": ("infiltrate",)}
BUNDLE = "bundle"
PROBABILITIES = "probabilities"
CHOICE = "choice"
"""Names of folders in the run's."""


def conclude(experiment: Experiment, weights: Path, device: torch.device) -> Bundle:
    """Score final weights on the validation fold and the frozen test split, and write the bundle into the run's folder.

    Beside the bundle lie `evaluation/SPLIT/cases.csv`, `summary.json` and overlays of the worst and best positive cases. Where the
    experiment says `choose`, post-processing is chosen on the validation fold, whose scores then are a little too good, and
    `probabilities/` of it and, in `choice/`, all that was compared are kept too.

    Args:
        experiment: what was run.
        weights: what it ended in.
        device: where the network goes.

    Raises:
        ValueError: a validation fold on which nothing can be chosen, or a network that answers with NaN.
    """
    dataset = PreparedDataset.open(experiment.data.prepared)
    preprocessing = preprocessing_of(experiment.stages[-1], experiment.data)
    tensors = load_file(weights)
    network = build_network(experiment.model, tensors, where=str(weights)).to(device)
    folder, rule = Path(experiment.run_folder), experiment.postprocessing
    if experiment.choose is not None:
        trained = TrainedNetwork(digest=sha256_of(weights), dataset_hash=dataset.hash, held_out=experiment.fold)
        predictor = predictor_of(LiveModel(network, preprocessing, rule))
        choice = choose([write_probabilities(folder / PROBABILITIES, predictor, dataset, trained)], experiment.choose)
        choice.save(folder / CHOICE)
        rule = choice.rule
    predictor = predictor_of(LiveModel(network, preprocessing, rule))
    metrics: dict[str, float] = {}
    found: dict[str, tuple[float, float]] = {}
    tables: dict[str, ScoreTable] = {}
    for split, indices in held_out(experiment, dataset).items():
        result = score(predictor, dataset, indices)
        scores = write_evaluation(folder / "evaluation" / split, result, dataset, {"split": split, "dataset_hash": dataset.hash})
        draw_cases(predictor, dataset, indices, result.rows, folder / "evaluation" / split)
        metrics |= {f"{split}_{key}": value for key, value in (result.summary.metrics() | values_of(scores.overall)).items()}
        tables[split] = scores
        found |= {f"{split}_{key}": ends for key, ends in intervals_of(scores.overall).items()}
    spec = BundleSpec(
        name=experiment.tracking.model or experiment.name,
        track=experiment.track,
        code_version=code_version(),
        model=experiment.model,
        preprocessing=preprocessing,
        postprocessing=rule,
        labels=LABELS[experiment.track],
        metrics=metrics,
        intervals=found,
        dataset_hash=dataset.hash,
        experiment=experiment.model_dump(
            mode="json", exclude={"storage": True, "tracking": True, "gate": True, "data": {"prepared", "sources"}}
        ),
    )
    return save_bundle(folder / BUNDLE, spec, tensors, make_golden(spec, tensors, golden_image(spec)), model_card(spec, tables))


def golden_image(spec: BundleSpec) -> np.ndarray:
    """The generated image that a bundle's golden case shows: a radiograph, or a small volume at the network's spacing; uint8."""
    if isinstance(spec.preprocessing, VolumePreprocessing):
        phantom = make_ct_phantom(GOLDEN_PHANTOM, GOLDEN_SHAPE, spec.preprocessing.spacing)
        return spec.preprocessing.to_uint8(phantom.volume.canonical().values)
    return make_phantom(GOLDEN_PHANTOM, GOLDEN_SIZE, True)[0]


def held_out(experiment: Experiment, dataset: PreparedDataset) -> dict[str, np.ndarray]:
    """The splits an experiment did not train on, where they have cases."""
    splits = {"test": dataset.indices("test")}
    if experiment.fold != "all":
        splits["validation"] = dataset.indices("train", fold=experiment.fold)
    return {name: indices for name, indices in splits.items() if len(indices)}
