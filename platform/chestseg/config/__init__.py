"""Experiments as frozen records: one YAML file, one `Experiment`."""

from chestseg.config.data import Data, Source
from chestseg.config.experiment import Experiment, Model, Postprocessing, Tracking, Training
from chestseg.config.load import load_experiment, parse
from chestseg.config.stage import Loss, Optimiser, Stage, Swa
from chestseg.config.strict import Strict

__all__ = [
    "Data", "Experiment", "Loss", "Model", "Optimiser", "Postprocessing", "Source", "Stage", "Strict", "Swa", "Tracking", "Training",
    "load_experiment", "parse",
]  # fmt: skip
