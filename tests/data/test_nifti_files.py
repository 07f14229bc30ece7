"""NIfTI files by stem; labels by name or number."""

import pytest

from chestseg.config import Source
from chestseg.data.nifti_files import label_values, niftis_by_stem

NAMES = {"background": (0,), "Left lung": (1,), "infection": (3,), "all": (1, 3)}


def chosen(*labels):
    return label_values(Source(reader="nnunet", path="root", labels=labels or None), NAMES, (3,))


def test_stems_of_packed_and_plain_files_in_order(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.nii.gz", "deep/a.b.nii", "table.csv", "other.tar.gz", ".hidden.nii"):
        (tmp_path / name).touch()
    found, others = niftis_by_stem(tmp_path)
    assert list(found.items()) == [("a.b", str(tmp_path / "deep" / "a.b.nii")), ("b", str(tmp_path / "b.nii.gz"))]
    assert others == [str(tmp_path / "other.tar.gz"), str(tmp_path / "table.csv")]


def test_one_stem_twice_is_refused(tmp_path):
    (tmp_path / "a.nii").touch()
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(ValueError, match=r"a\.nii and .*a\.nii\.gz are both case 'a': remove or rename one"):
        niftis_by_stem(tmp_path)


def test_nothing_there(tmp_path):
    (tmp_path / "x.dcm").touch()
    with pytest.raises(ValueError, match=r"no \.nii or \.nii\.gz file in it"):
        niftis_by_stem(tmp_path)
    with pytest.raises(ValueError, match="missing: no such folder"):
        niftis_by_stem(tmp_path / "missing")


def test_labels_by_name_in_any_case_or_by_number():
    assert chosen() == (3,)
    assert chosen("LEFT lung", 3) == (1, 3)
    assert chosen("all") == (1, 3)


@pytest.mark.parametrize("wrong", ["lesion", 2])
def test_labels_that_are_not_there_are_named(wrong):
    with pytest.raises(
        ValueError, match=rf"root: `labels` names {wrong!r}, which is none of background \(0\), Left lung \(1\), .*all \(1\+3\)"
    ):
        chosen(wrong)
