"""Experiments as frozen records: one YAML file, one `Experiment`."""

from chestseg.config.data import Data, RadiographData, Source, VolumeData
from chestseg.config.experiment import CtExperiment, CxrExperiment, Experiment, Tracking, Training
from chestseg.config.gate import Gate
from chestseg.config.load import experiment_from, load_experiment, parse
from chestseg.config.model import ConvUNet3DModel, Model, SliceUNetModel, UNet2DModel, UNet3DModel, VolumeModel
from chestseg.config.postprocessing import Objective, Postprocessing, VolumePostprocessing
from chestseg.config.space import Space
from chestseg.config.stage import Loss, Optimiser, RadiographStage, Spacing, Stage, Swa, Triple, VolumeStage
from chestseg.config.strict import Strict
from chestseg.config.sweep import Asha, Budget, Sweep, load_sweep
from chestseg.config.windows import Windows

__all__ = [
    "Asha", "Budget", "ConvUNet3DModel", "CtExperiment", "CxrExperiment", "Data", "Experiment", "Gate", "Loss", "Model", "Objective",
    "Optimiser",
    "Postprocessing", "RadiographData", "RadiographStage", "SliceUNetModel", "Source", "Space", "Spacing", "Stage", "Strict", "Swa",
    "Sweep", "Tracking", "Training", "Triple", "UNet2DModel", "UNet3DModel", "VolumeData", "VolumeModel", "VolumePostprocessing",
    "VolumeStage", "Windows", "experiment_from", "load_experiment", "load_sweep", "parse",
]  # fmt: skip
