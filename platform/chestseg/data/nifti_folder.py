"""A folder of NIfTI volumes and a folder of their masks, joined by the stem of their names."""

from pathlib import Path

from chestseg.config import Source
from chestseg.data.cases import Listing
from chestseg.data.nifti_files import niftis_by_stem
from chestseg.data.pairs import masks_beside, other_files, unpaired
from chestseg.data.tree import source_name
from chestseg.data.volume_cases import LabelFile, VolumeSource

OTHER_FILE = "not called .nii or .nii.gz"


def list_nifti_folder(source: Source) -> Listing:
    """Cases of `images` and `masks` below the source's path, in sub-folders too; each is a patient of the case's name.

    A mask is 0 and 1, or any integers of which the source's `labels` says by number which count. What an image without a mask means,
    the source must say (`without_mask`): unlabelled images are left out.

    Raises:
        ValueError: one line that names the folder: missing, empty, two images of one name, nothing labelled, or labels given by name.
    """
    root, name = Path(source.path), source_name(source)
    images, others = niftis_by_stem(root / source.images)
    masks = masks_beside(images, root, source.masks, niftis_by_stem)
    infiltrate, known = _labels(source)
    negative = source.without_mask == "negative"
    cases = [
        VolumeSource(
            case_id,
            name,
            path,
            patient_id=case_id,
            mask=LabelFile(masks[case_id], infiltrate, known) if case_id in masks else None,
            negative=case_id not in masks,
            window=source.window,
        )
        for case_id, path in images.items()
        if case_id in masks or negative
    ]
    if not cases:
        raise ValueError(
            f"{root}: no image has a mask: set the source's `masks`, or `without_mask: negative` if all are free of infiltrates"
        )
    left_out = other_files(others, OTHER_FILE, name) + unpaired(images, masks, name, unlabelled=not negative)
    return Listing(cases, left_out)


def _labels(source: Source) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Labels that count, and all there may be: nobody says what others a folder's masks have, once some are chosen by number."""
    if source.labels is None:
        return (1,), (0, 1)
    numbers = tuple(label for label in source.labels if isinstance(label, int))
    if len(numbers) < len(source.labels):
        raise ValueError(f"{source.path}: `labels` {list(source.labels)}: plain masks have no names; give numbers")
    return numbers, None
