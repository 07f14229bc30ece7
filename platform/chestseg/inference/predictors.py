"""The predictor for a bundle of either track."""

from chestseg.bundle import Bundle
from chestseg.inference.predictor import LiveModel, Predictor
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.models.precision import Precision
from chestseg.preprocessing import VolumePreprocessing


def predictor_of(source: Bundle | LiveModel, *, device: str = "auto", precision: Precision = "auto") -> Predictor | VolumePredictor:
    """A predictor of radiographs or of volumes, by what stands before the network.

    Raises:
        ValueError: as the predictors do.
    """
    preprocessing = source.spec.preprocessing if isinstance(source, Bundle) else source.preprocessing
    kind = VolumePredictor if isinstance(preprocessing, VolumePreprocessing) else Predictor
    return kind(source, device=device, precision=precision)
