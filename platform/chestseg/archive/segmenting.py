"""From the files of a series to segmentations of it, by a bundle of either track."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chestseg.bundle import Bundle
from chestseg.dicom.radiograph import read_radiograph
from chestseg.dicom.segmentation import MEANINGS, SegmentationModel, Segmented, segmentation_series_uid, write_segmentation
from chestseg.dicom.series import Mode, read_series
from chestseg.inference.postprocess import image_mm2
from chestseg.inference.predictor import Predictor
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.models.precision import Precision
from chestseg.preprocessing import VolumePreprocessing

BODY_PARTS = ("CHEST", "THORAX", "LUNG")
ANY = "ANY"
LATERAL = ("LL", "RL", "LATERAL")
"""Values of ViewPosition (PS3.3 C.8.1.2, C.8.11.2): models are trained on frontal views."""
BODY_PART, VIEW = "00180015", "00185101"


class Segmenter:
    """A predictor with what an archive must know of it.

    Args:
        bundle: of either track.
        device: as for the predictors.
        precision: as for the predictors.
        memory_gb: volumes: main memory of the process.
        series: volumes: whether a series with gaps, duplicates or a tilted gantry is refused or repaired.
        body_parts: of which BodyPartExamined holds one, where it is stated; `ANY` for all.

    Raises:
        ValueError: a bundle for something that has no code here, or as the predictors do.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        memory_gb: float = 4.0,
        series: Mode = "strict",
        body_parts: Sequence[str] = BODY_PARTS,
    ) -> None:
        self.segmented: Segmented = _segmented(bundle)
        self.model = SegmentationModel.of_bundle(bundle.spec.name, bundle.digest)
        self.mode: Mode = series
        self.body_parts = tuple(part.upper() for part in body_parts)
        self.volumes: VolumePredictor | None = None
        self.radiographs: Predictor | None = None
        if isinstance(bundle.spec.preprocessing, VolumePreprocessing):
            self.modalities: tuple[str, ...] = ("CT",)
            self.volumes = VolumePredictor(bundle, device=device, precision=precision, memory_gb=memory_gb)
        else:
            self.modalities = ("CR", "DX")
            self.radiographs = Predictor(bundle, device=device, precision=precision)

    def result_uid(self, series: str) -> str:
        """SeriesInstanceUID of the segmentations of a series, before they are made."""
        return segmentation_series_uid(series, self.segmented, self.model)

    def unfit(self, attributes: dict[str, Any]) -> str:
        """Why an image, by its attributes in DICOM's JSON model, is not one for this model; empty where it is."""
        part, view = (str((attributes.get(tag, {}).get("Value") or [""])[0]).upper() for tag in (BODY_PART, VIEW))
        if part and ANY not in self.body_parts and not any(word in part for word in self.body_parts):
            return f"body part {part}"
        if self.radiographs and view in LATERAL:
            return f"lateral view {view}"
        return ""

    def segment(self, files: Sequence[Path]) -> bytes:
        """The segmentation of one radiograph, or of the files of one CT series.

        Raises:
            ValueError: it can't be read or segmented, or no object can refer to it; one line.
        """
        if self.volumes is not None:
            series = read_series(files, self.mode)
            mask = self.volumes.predict(series.volume).mask
            return write_segmentation(files, mask, self.segmented, self.model, series=series)
        assert self.radiographs is not None
        [file] = files
        radiograph = read_radiograph(file)
        shown = image_mm2(radiograph.pixels.shape, radiograph.spacing_mm)
        [prediction] = self.radiographs.predict([radiograph.pixels], shown_mm2=[shown])
        return write_segmentation(file, prediction.mask, self.segmented, self.model)


def _segmented(bundle: Bundle) -> Segmented:
    known: list[Segmented] = [label for label in MEANINGS if bundle.spec.labels == (label,)]
    if not known:
        raise ValueError(f"{bundle.folder}: segments {', '.join(bundle.spec.labels)}: only {' or '.join(MEANINGS)} can be written as DICOM")
    return known[0]
