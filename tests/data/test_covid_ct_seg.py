"""COVID-19-CT-Seg: two publishers' names and intensities in one set."""

from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Source
from chestseg.data.covid_ct_seg import OTHER_NAME, list_covid_ct_seg
from chestseg.data.pairs import NO_IMAGE, UNLABELLED
from tests.data.volumes import GREY, HU, MASK, volume_data, write_volume

LUNGS_AND_INFECTION = MASK * 3 + (HU < -600).astype(np.uint8)
ZENODO = {
    "coronacases_001": "coronacases_001",
    "radiopaedia_10_85902_1": "radiopaedia_10_85902_1",
    "radiopaedia_10_85902_3": "radiopaedia_10_85902_3",
}
KAGGLE = {
    "coronacases_org_001": "coronacases_001",
    "radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm": "radiopaedia_10_85902_1",
    "radiopaedia_org_covid-19-pneumonia-10_85902_3-dcm": "radiopaedia_10_85902_3",
}


def listed(folder: Path, **settings: object):
    return list_covid_ct_seg(Source(reader="covid_ct_seg", path=str(folder), **settings))


def write(folder: Path, names: dict[str, str], images: str = "ct_scans", masks: str = "lung_and_infection_mask") -> Path:
    for image, mask in names.items():
        write_volume(folder / images / f"{image}.nii", GREY if image.startswith("radio") else HU)
        write_volume(folder / masks / f"{mask}.nii", LUNGS_AND_INFECTION)
        write_volume(folder / "infection_mask" / f"{mask}.nii", MASK)
    return folder


@pytest.mark.parametrize(
    ("names", "folders"),
    [(ZENODO, ("COVID-19-CT-Seg_20cases", "Lung_and_Infection_Mask")), (KAGGLE, ("ct_scans", "lung_and_infection_mask"))],
)
def test_both_copies_give_the_same_cases(tmp_path, names, folders):
    listing = listed(write(tmp_path, names, *folders))
    assert [(case.case_id, case.patient_id) for case in listing.cases] == [
        ("coronacases_001", "coronacases_001"),
        ("radiopaedia_10_85902_1", "radiopaedia_10"),
        ("radiopaedia_10_85902_3", "radiopaedia_10"),
    ]
    assert listing.left_out == []
    hu, grey, _ = (case.read(volume_data()) for case in listing.cases)
    assert np.array_equal(hu.volume.values, HU)
    assert hu.notes == ()
    np.testing.assert_allclose(grey.volume.values, -1250 + GREY * (1500 / 255), atol=1e-3)
    assert grey.notes == ("values 0 to 255 taken as -1250 to 250 HU",)
    assert np.array_equal(hu.mask, MASK)


def test_radiopaedia_volumes_that_are_hu_are_taken_as_they_are_and_grey_coronacases_refused(tmp_path):
    write(tmp_path, KAGGLE)
    write_volume(tmp_path / "ct_scans" / "radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm.nii", HU)
    write_volume(tmp_path / "ct_scans" / "coronacases_org_001.nii", GREY)
    grey, hu, _ = listed(tmp_path).cases
    assert np.array_equal(hu.read(volume_data()).volume.values, HU)
    with pytest.raises(ValueError, match="are not HU"):
        grey.read(volume_data())


def test_other_labels_by_name(tmp_path):
    case = listed(write(tmp_path, KAGGLE), labels=["left lung", "Infection"]).cases[0].read(volume_data())
    assert np.array_equal(case.mask, LUNGS_AND_INFECTION > 0)


def test_what_has_no_partner_or_another_name_is_left_out(tmp_path):
    write(tmp_path, KAGGLE)
    write_volume(tmp_path / "ct_scans" / "coronacases_org_case007.nii", HU)
    write_volume(tmp_path / "ct_scans" / "mine.nii", HU)
    write_volume(tmp_path / "lung_and_infection_mask" / "radiopaedia_4_85506_1.nii", MASK)
    assert [(one.case_id, one.reason) for one in listed(tmp_path).left_out] == [
        ("mine", OTHER_NAME), ("coronacases_007", UNLABELLED), ("radiopaedia_4_85506_1", NO_IMAGE),
    ]  # fmt: skip


def test_folders_of_other_names(tmp_path):
    write(tmp_path, KAGGLE, "scans", "truth")
    with pytest.raises(ValueError, match=r"no folder COVID-19-CT-Seg_20cases or ct_scans in it: .* set the source's `images`"):
        listed(tmp_path)
    assert len(listed(tmp_path, images="scans", masks="truth").cases) == 3


def test_what_cannot_be_right_is_refused(tmp_path):
    write(tmp_path, KAGGLE)
    with pytest.raises(ValueError, match="leave out `window`: the reader knows which volumes"):
        listed(tmp_path, window=(0, 255))
    write_volume(tmp_path / "ct_scans" / "coronacases_001.nii", HU)
    with pytest.raises(ValueError, match=r"coronacases_001\.nii and .*coronacases_org_001\.nii are both case 'coronacases_001'"):
        listed(tmp_path)
