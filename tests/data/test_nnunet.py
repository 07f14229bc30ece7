"""nnU-Net's raw layout, both versions of its dataset.json."""

import json
from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Source
from chestseg.data.nnunet import list_nnunet
from chestseg.data.pairs import NO_IMAGE, UNLABELLED
from tests.data.volumes import HU, MASK, volume_data, write_volume

V1 = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "infiltrate"}, "numTraining": 1}
V2 = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "infiltrate": 1}, "numTraining": 1, "file_ending": ".nii.gz"}
LUNGS = {"background": 0, "lung": 1, "ground glass": 2, "consolidation": 3, "infiltrate": [2, 3]}


def listed(folder: Path, **settings: object):
    return list_nnunet(Source(reader="nnunet", path=str(folder), **settings))


def write(folder: Path, dataset: dict, labels: np.ndarray = MASK) -> Path:
    write_volume(folder / "imagesTr" / "case_001_0000.nii.gz", HU)
    write_volume(folder / "labelsTr" / "case_001.nii.gz", labels)
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


@pytest.mark.parametrize("dataset", [V1, V2])
def test_both_versions_give_the_same_case(tmp_path, dataset):
    listing = listed(write(tmp_path, dataset))
    assert [(case.case_id, case.patient_id) for case in listing.cases] == [("case_001", "case_001")]
    assert listing.left_out == []
    case = listing.cases[0].read(volume_data())
    assert np.array_equal(case.volume.values, HU)
    assert np.array_equal(case.mask, MASK)


@pytest.mark.parametrize(
    ("labels", "count"), [(["infiltrate"], (2, 3)), (["consolidation"], (3,)), ([2, "Consolidation"], (2, 3)), ([1], (1,))]
)
def test_several_labels_need_a_choice_by_name_or_number(tmp_path, labels, count):
    truth = np.arange(60).reshape(HU.shape) % 4
    write(tmp_path, V2 | {"labels": LUNGS}, truth.astype(np.uint8))
    with pytest.raises(ValueError, match="labels background, lung, ground glass, consolidation, infiltrate: say in the source's `labels`"):
        listed(tmp_path)
    assert np.array_equal(listed(tmp_path, labels=labels).cases[0].read(volume_data()).mask, np.isin(truth, count))


def test_voxels_to_ignore_or_of_no_label_are_refused(tmp_path):
    write(tmp_path, V2 | {"labels": V2["labels"] | {"ignore": 2}}, MASK * 2)
    with pytest.raises(ValueError, match=r"case_001\.nii\.gz: label 2 is none of 0, 1"):
        listed(tmp_path).cases[0].read(volume_data())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"channel_names": {"0": "CT", "1": "PET"}}, "2 channels where a CT has one: export the CT alone"),
        ({"channel_names": {"0": "T2"}}, "its channel is 'T2', not CT"),
        ({"channel_names": {"0": "CTA-like MRI"}}, "not CT"),
        ({"channel_names": {}}, "0 channels"),
        ({"file_ending": ".mha"}, "files that end in '.mha': convert them to NIfTI"),
        ({"labels": None}, "has no `labels`"),
        ({"labels": {"background": 0, "infiltrate": None}}, "label 'infiltrate': None is neither"),
    ],
)
def test_what_is_no_ct_with_labels_is_refused(tmp_path, change, error):
    with pytest.raises(ValueError, match=rf"dataset\.json: .*{error}"):
        listed(write(tmp_path, V2 | change))


@pytest.mark.parametrize(
    ("name", "error"), [("case_001_0001", "a second channel where a CT has one"), ("case_002", "its name does not end in _0000")]
)
def test_names_of_images_tell_the_channel(tmp_path, name, error):
    write_volume(write(tmp_path, V2) / "imagesTr" / f"{name}.nii.gz", HU)
    with pytest.raises(ValueError, match=rf"{name}\.nii\.gz: {error}"):
        listed(tmp_path)


def test_what_has_no_partner_is_left_out(tmp_path):
    write(tmp_path, V2)
    write_volume(tmp_path / "imagesTr" / "a_0000.nii.gz", HU)
    write_volume(tmp_path / "labelsTr" / "b.nii.gz", MASK)
    assert [(one.case_id, one.reason) for one in listed(tmp_path).left_out] == [("a", UNLABELLED), ("b", NO_IMAGE)]


def test_a_damaged_or_missing_description_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"dataset\.json: No such file or directory: nnU-Net's raw layout has one"):
        listed(tmp_path)
    write(tmp_path, V2)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json: is not JSON, or was cut short"):
        listed(tmp_path)


def test_the_real_sets(real_data):
    hu = listed(real_data / "Dataset102_MedSegCovid")
    assert len(hu.cases) == 6
    case = hu.cases[0].read(volume_data())
    assert (case.volume.values.shape, case.volume.values.min(), case.volume.values.max()) == ((45, 315, 315), -1350, 150)
    assert case.mask.any()
    grey = real_data / "Dataset101_CoronacasesSlices"
    small = next(case for case in listed(grey, window=(0, 255)).cases if case.case_id == "corona_011")
    assert small.read(volume_data()).notes == ("values 0 to 255 taken as -1000 to 400 HU",)
    with pytest.raises(ValueError, match="are not HU"):
        next(case for case in listed(grey).cases if case.case_id == "corona_011").read(volume_data())
