"""A folder of images and a folder of masks, joined by the stem of their names."""

from pathlib import Path

from chestseg.config import Source
from chestseg.data.cases import CaseSource, Listing
from chestseg.data.pairs import masks_beside, other_files, unpaired
from chestseg.data.tree import IMAGES, files_by_stem, source_name

OTHER_FILE = "not called .dcm, .png or .jpg"


def list_image_folder(source: Source) -> Listing:
    """Cases of `images` and `masks` below the source's path: DICOM, PNG or JPEG images, PNG or DICOM masks, in sub-folders too.

    What an image without a mask means, the source must say (`without_mask`): unlabelled images are left out.

    Raises:
        ValueError: one line that names the folder: missing, empty, two images of one name, or nothing labelled.
    """
    root, name = Path(source.path), source_name(source)
    images, others = files_by_stem(root / source.images, IMAGES)
    if not images:
        raise ValueError(f"{root / source.images}: no DICOM, PNG or JPEG file in it: correct the source's `images`")
    masks = masks_beside(images, root, source.masks, lambda folder: files_by_stem(folder, IMAGES))
    negative = source.without_mask == "negative"
    cases = [
        CaseSource(case_id, name, path, mask_path=masks.get(case_id), negative=case_id not in masks)
        for case_id, path in images.items()
        if case_id in masks or negative
    ]
    if not cases:
        raise ValueError(f"{root}: no image has a mask: set the source's `masks`, or `without_mask: negative` if all are free of disease")
    left_out = other_files(others, OTHER_FILE, name) + unpaired(images, masks, name, unlabelled=not negative)
    return Listing(cases, left_out)
