"""Images and masks joined by name: what readers of such data sets share."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from chestseg.data.cases import LeftOut

UNLABELLED = "no mask, so it is unlabelled"
NO_IMAGE = "a mask, but no image"


def unpaired(images: Mapping[str, str], masks: Mapping[str, str], source: str, *, unlabelled: bool = True) -> list[LeftOut]:
    """Images without a mask, unless `unlabelled` is false, then masks without an image; both are paths by case."""
    without_mask = _alone(images, masks, UNLABELLED, source) if unlabelled else []
    return without_mask + _alone(masks, images, NO_IMAGE, source)


def other_files(paths: Iterable[str], reason: str, source: str) -> list[LeftOut]:
    """Files that are no case, by their names."""
    return [LeftOut(Path(path).name, path, reason, source) for path in paths]


def masks_beside(
    images: Mapping[str, str], root: Path, folder: str | None, read: Callable[[Path], tuple[dict[str, str], list[str]]]
) -> dict[str, str]:
    """Masks by stem in a folder that a source names, as `read` lists them; none where it names no folder.

    Raises:
        ValueError: none of them is called like an image.
    """
    if folder is None:
        return {}
    masks, _ = read(root / folder)
    if not masks.keys() & images.keys():
        raise ValueError(f"{root / folder}: no mask is called like an image: rename them, or set `masks: null` if there are none")
    return masks


def _alone(those: Mapping[str, str], others: Mapping[str, str], reason: str, source: str) -> list[LeftOut]:
    return [LeftOut(case_id, path, reason, source) for case_id, path in those.items() if case_id not in others]
