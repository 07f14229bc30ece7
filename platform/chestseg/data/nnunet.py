"""nnU-Net's raw layout, of version 1 and 2: `imagesTr/ID_0000.nii.gz`, `labelsTr/ID.nii.gz` and `dataset.json`.

https://github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md; version 1 is the Medical Segmentation Decathlon's `dataset.json`.
"""

import json
import re
from pathlib import Path
from typing import Any

from chestseg.config import Source
from chestseg.data.cases import Listing
from chestseg.data.nifti_files import label_values, niftis_by_stem
from chestseg.data.pairs import unpaired
from chestseg.data.tree import source_name
from chestseg.data.volume_cases import LabelFile, VolumeSource

CHANNEL = re.compile(r"(.+)_(\d{4})")
ENDINGS = (".nii.gz", ".nii")
IGNORE = "ignore"
"""Version 2's name for voxels of which nothing is known: no truth to train on or to compare with, so a mask that has them is refused."""


def list_nnunet(source: Source) -> Listing:
    """Cases of `imagesTr` and `labelsTr`; each case is a patient, unless a patients file says otherwise.

    What counts as infiltrate is the only label beside the background, or what the source's `labels` name. Images without labels, the test
    images of `imagesTs` among them, are unlabelled.

    Raises:
        ValueError: one line that names the file or folder: no `dataset.json` or a wrong one, several channels, none that is CT, several
            labels of which none is chosen, an image without the channel's number, nothing labelled.
    """
    root, name = Path(source.path), source_name(source)
    dataset = _read_json(root / "dataset.json")
    _check_channels(root / "dataset.json", dataset)
    names = _labels(root / "dataset.json", dataset)
    infiltrate = label_values(source, names, _only_label(root / "dataset.json", names) if source.labels is None else ())
    known = tuple(sorted({value for values in names.values() for value in values}))
    images, masks = _by_case(root / "imagesTr"), niftis_by_stem(root / "labelsTr")[0]
    cases = [
        VolumeSource(case_id, name, path, patient_id=case_id, mask=LabelFile(masks[case_id], infiltrate, known), window=source.window)
        for case_id, path in images.items()
        if case_id in masks
    ]
    if not cases:
        raise ValueError(f"{root}: no image of imagesTr has a file of its name in labelsTr: ID_0000.nii.gz goes with ID.nii.gz")
    return Listing(cases, unpaired(images, masks, name))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        dataset = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: nnU-Net's raw layout has one; write it, or use the reader nifti_folder") from None
    except ValueError:
        raise ValueError(f"{path}: is not JSON, or was cut short: write it again") from None
    if not (isinstance(dataset, dict) and isinstance(dataset.get("labels"), dict)):
        raise ValueError(f"{path}: has no `labels`: write them as nnU-Net's documentation says")
    return dataset


def _check_channels(path: Path, dataset: dict[str, Any]) -> None:
    """One channel, and CT."""
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    if len(channels) != 1:
        raise ValueError(f"{path}: {len(channels)} channels where a CT has one: export the CT alone, as channel 0000")
    channel = str(next(iter(channels.values())))
    if not re.match(r"CT\b", channel, re.IGNORECASE):
        raise ValueError(f"{path}: its channel is {channel!r}, not CT: this track segments CT")
    ending = dataset.get("file_ending", ENDINGS[0])
    if ending not in ENDINGS:
        raise ValueError(f"{path}: files that end in {ending!r}: convert them to NIfTI, .nii.gz")


def _labels(path: Path, dataset: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Values by name: version 1 has the names by value, version 2 the values by name, several of them for a region."""
    labels: dict[str, tuple[int, ...]] = {}
    for key, value in dataset["labels"].items():
        name, numbers = (value, key) if isinstance(value, str) else (key, value)
        try:
            labels[name] = tuple(int(number) for number in (numbers if isinstance(numbers, list) else [numbers]))
        except (TypeError, ValueError):
            raise ValueError(f"{path}: label {key!r}: {value!r} is neither a number's name nor a name's number: correct it") from None
    labels.pop(IGNORE, None)
    return labels


def _only_label(path: Path, names: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    foreground = {value for values in names.values() for value in values} - {0}
    if len(foreground) != 1:
        raise ValueError(f"{path}: labels {', '.join(names)}: say in the source's `labels` which are infiltrate")
    return tuple(foreground)


def _by_case(folder: Path) -> dict[str, str]:
    """Images of channel 0000 by case."""
    cases: dict[str, str] = {}
    for stem, path in niftis_by_stem(folder)[0].items():
        match = CHANNEL.fullmatch(stem)
        if match is None:
            raise ValueError(f"{path}: its name does not end in _0000, the number of its channel: rename it")
        if match[2] != "0000":
            raise ValueError(f"{path}: a second channel where a CT has one: export the CT alone, as channel 0000")
        cases[match[1]] = path
    return cases
