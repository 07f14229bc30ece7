"""MosMed's tree: severity by folder, masks of some."""

from pathlib import Path

import numpy as np
import pytest

from chestseg.config import Source
from chestseg.data.mosmed import NO_SEVERITY, list_mosmed
from chestseg.data.pairs import NO_IMAGE, UNLABELLED
from tests.data.volumes import HU, MASK, volume_data, write_volume


def listed(folder: Path, **settings: object):
    return list_mosmed(Source(reader="mosmed", path=str(folder), **settings))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "COVID19_1110"
    for place in ("CT-0/study_0001", "CT-1/study_0255", "CT-1/study_0256", "CT-4/study_1110"):
        write_volume(root / "studies" / f"{place}.nii.gz", HU)
    for number in ("0255", "0300"):
        write_volume(root / "masks" / f"study_{number}_mask.nii.gz", MASK)
    return root


def test_studies_with_masks_are_cases_and_the_rest_is_unlabelled(folder):
    listing = listed(folder)
    assert [(case.case_id, case.patient_id, case.source) for case in listing.cases] == [("study_0255", "study_0255", "COVID19_1110")]
    assert [(one.case_id, one.reason) for one in listing.left_out] == [
        ("study_0001", UNLABELLED), ("study_0256", UNLABELLED), ("study_1110", UNLABELLED), ("study_0300", NO_IMAGE),
    ]  # fmt: skip
    case = listing.cases[0].read(volume_data())
    assert np.array_equal(case.volume.values, HU)
    assert np.array_equal(case.mask, MASK)


def test_only_normal_studies_become_negatives_and_only_where_the_source_says_so(folder):
    listing = listed(folder, without_mask="negative")
    assert [(case.case_id, case.negative) for case in listing.cases] == [("study_0001", True), ("study_0255", False)]
    assert [one.case_id for one in listing.left_out] == ["study_0256", "study_1110", "study_0300"]


def test_the_archives_root_or_its_parent_is_the_same(folder):
    assert [case.image for case in listed(folder.parent).cases] == [case.image for case in listed(folder).cases]


def test_what_lies_outside_the_severities_is_told(folder):
    write_volume(folder / "extra" / "study_2000.nii.gz", HU)
    assert [one.reason for one in listed(folder).left_out if one.case_id == "study_2000"] == [NO_SEVERITY]


def test_a_folder_that_is_not_mosmeds(tmp_path):
    write_volume(tmp_path / "a.nii", HU)
    with pytest.raises(ValueError, match="none of 1 files is a study in CT-0 to CT-4 with a mask: unpack MosMed's studies and masks"):
        listed(tmp_path)


def test_its_masks_have_one_label(folder):
    assert listed(folder, labels=["infiltrate"]).cases
    with pytest.raises(ValueError, match="`labels` names 2, which is none of infiltrate"):
        listed(folder, labels=[2])
