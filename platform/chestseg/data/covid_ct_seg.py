"""COVID-19-CT-Seg: 20 volumes with lungs and infection outlined (Ma et al. 2021; Zenodo 3757476, also on Kaggle).

Two publishers' volumes in one set: ten `coronacases_*` hold HU; ten `radiopaedia_*` hold grey levels 0 to 255 that stand for -1250 to
250 HU. Kaggle's copy calls images otherwise than masks: `radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm.nii` goes with
`radiopaedia_10_85902_1.nii`, `coronacases_org_001.nii` with `coronacases_001.nii`.
"""

import re
from pathlib import Path

from chestseg.config import Source
from chestseg.data.cases import LeftOut, Listing
from chestseg.data.nifti_files import label_values, niftis_by_stem
from chestseg.data.pairs import unpaired
from chestseg.data.tree import source_name
from chestseg.data.volume_cases import LabelFile, VolumeSource

IMAGES = ("COVID-19-CT-Seg_20cases", "ct_scans")
MASKS = ("Lung_and_Infection_Mask",)
LABELS = {"background": (0,), "left lung": (1,), "right lung": (2,), "infection": (3,)}
RADIOPAEDIA_HU = (-1250.0, 250.0)
"""What grey levels 0 and 255 of the Radiopaedia volumes stand for."""
OTHER_NAME = "not called coronacases_* or radiopaedia_*"

_CORONACASES = re.compile(r"coronacases_\D*(\d+)")
_RADIOPAEDIA = re.compile(r"radiopaedia_.*?(\d+)_(\d+)_(\d+)")


def list_covid_ct_seg(source: Source) -> Listing:
    """Cases of the two folders as Zenodo's archives or Kaggle's unpack, or as the source's `images` and `masks` say.

    A case is called as its mask. Coronacases' patients are its cases; a Radiopaedia patient is the first number of the name, for two of
    them have two volumes each. Radiopaedia volumes whose values lie within 0 and 255 become HU; any other volume has to be HU already.

    Raises:
        ValueError: one line that names the folder or file: missing, two files of one case, nothing labelled, or a `window`, which
            can't hold for both kinds.
    """
    root, name = Path(source.path), source_name(source)
    if source.window is not None:
        raise ValueError(f"{root}: leave out `window`: the reader knows which volumes of COVID-19-CT-Seg are HU and which are not")
    infiltrate = label_values(source, LABELS, LABELS["infection"])
    known = tuple(value for values in LABELS.values() for value in values)
    images, others = _by_case(_folder(root, source, "images", IMAGES), name)
    masks, _ = _by_case(_folder(root, source, "masks", MASKS), name)
    cases = [
        VolumeSource(
            case_id,
            name,
            path,
            patient_id=case_id if case_id.startswith("coronacases") else case_id.rsplit("_", 2)[0],
            mask=LabelFile(masks[case_id], infiltrate, known),
            grey_hu=None if case_id.startswith("coronacases") else RADIOPAEDIA_HU,
        )
        for case_id, path in images.items()
        if case_id in masks
    ]
    if not cases:
        raise ValueError(f"{root}: no image of COVID-19-CT-Seg has a mask: unpack the images and Lung_and_Infection_Mask beside each other")
    return Listing(cases, others + unpaired(images, masks, name))


def _folder(root: Path, source: Source, field: str, names: tuple[str, ...]) -> Path:
    """The folder the source names, else the one called as published, in any case."""
    if field in source.model_fields_set:
        return root / (getattr(source, field) or "")
    published = [name.casefold() for name in names]
    found = sorted(path for path in (root.iterdir() if root.is_dir() else ()) if path.is_dir() and path.name.casefold() in published)
    if not found:
        raise ValueError(f"{root}: no folder {' or '.join(names)} in it: unpack COVID-19-CT-Seg there, or set the source's `{field}`")
    return found[0]


def _by_case(folder: Path, source: str) -> tuple[dict[str, str], list[LeftOut]]:
    """Files by the name of their case, and those whose names tell none."""
    cases: dict[str, str] = {}
    others: list[LeftOut] = []
    for stem, path in niftis_by_stem(folder)[0].items():
        case_id = _case_id(stem)
        if case_id is None:
            others.append(LeftOut(stem, path, OTHER_NAME, source))
        elif cases.setdefault(case_id, path) != path:
            raise ValueError(f"{cases[case_id]} and {path} are both case {case_id!r}: remove one of them")
    return dict(sorted(cases.items())), others


def _case_id(stem: str) -> str | None:
    if match := _CORONACASES.match(stem):
        return f"coronacases_{match[1]}"
    if match := _RADIOPAEDIA.match(stem):
        return f"radiopaedia_{'_'.join(match.groups())}"
    return None
