"""Pixel spacing of a radiograph in the patient's plane, only where the file can be believed."""

from pydicom.dataset import Dataset

FIELD_OF_VIEW_MM = (250.0, 500.0)
"""Longer side of a chest radiograph. Plates are 35x43 cm; a child's is 18x24 cm, below which a spacing is not told from a wrong one."""


def spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Distance between pixel centres, (down a column, along a row), in millimetres.

    PixelSpacing as it stands, or ImagerPixelSpacing, which is measured at the detector, divided by the stated magnification
    (PS3.3 section 10.7.1.3); alone, ImagerPixelSpacing says nothing of the patient. A spacing that makes the image's longer side
    shorter than 25 or longer than 50 cm belongs to another image than this one: SIIM-ACR's files were resized to 1024x1024
    columns and kept the spacing of their source.

    Returns:
        None where the file has no spacing, or none to believe.
    """
    spacing = _pair(dataset, "PixelSpacing")
    magnification = dataset.get("EstimatedRadiographicMagnificationFactor")
    at_detector = _pair(dataset, "ImagerPixelSpacing")
    if spacing is None and at_detector is not None and magnification:
        spacing = (at_detector[0] / float(magnification), at_detector[1] / float(magnification))
    if spacing is None:
        return None
    longer = max(dataset.Rows * spacing[0], dataset.Columns * spacing[1])
    return spacing if FIELD_OF_VIEW_MM[0] <= longer <= FIELD_OF_VIEW_MM[1] else None


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    value = dataset.get(keyword)
    if value is None or isinstance(value, (str, float)) or len(value) != 2:
        return None
    down, along = float(value[0]), float(value[1])
    return (down, along) if down > 0 and along > 0 else None
