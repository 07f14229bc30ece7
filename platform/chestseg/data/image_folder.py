"""A folder of images and a folder of masks, joined by the stem of their names."""

from pathlib import Path

from chestseg.config import Source
from chestseg.data.cases import CaseSource, LeftOut, Listing
from chestseg.data.tree import IMAGES, files_by_stem, source_name

UNLABELLED = "no mask, so it is unlabelled"
NO_IMAGE = "a mask, but no image"
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
    masks = _masks(root, source.masks, images)
    negative = source.without_mask == "negative"
    cases = [
        CaseSource(case_id, name, path, mask_path=masks.get(case_id), negative=case_id not in masks)
        for case_id, path in images.items()
        if case_id in masks or negative
    ]
    if not cases:
        raise ValueError(f"{root}: no image has a mask: set the source's `masks`, or `without_mask: negative` if all are free of disease")
    left_out = [LeftOut(Path(path).name, path, OTHER_FILE, name) for path in others]
    left_out += [LeftOut(case_id, path, NO_IMAGE, name) for case_id, path in masks.items() if case_id not in images]
    if not negative:
        left_out += [LeftOut(case_id, path, UNLABELLED, name) for case_id, path in images.items() if case_id not in masks]
    return Listing(cases, left_out)


def _masks(root: Path, folder: str | None, images: dict[str, str]) -> dict[str, str]:
    if folder is None:
        return {}
    masks, _ = files_by_stem(root / folder, IMAGES)
    if not masks.keys() & images.keys():
        raise ValueError(f"{root / folder}: no mask is called like an image: rename them, or set `masks: null` if there are none")
    return masks
