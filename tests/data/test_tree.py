"""Files of a tree by their stem."""

import pytest

from chestseg.config import Source
from chestseg.data.tree import DICOM, IMAGES, files_by_stem, source_name


def test_stems_keep_their_dots_and_come_in_order(tmp_path):
    for name in ("b/1.2.840.3.dcm", "a/1.2.840.2.DCM", "c/d/fig.webp-day5.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, others = files_by_stem(tmp_path, IMAGES)
    assert list(found) == ["1.2.840.2", "1.2.840.3", "fig.webp-day5"]
    assert found["1.2.840.3"] == str(tmp_path / "b" / "1.2.840.3.dcm")
    assert files_by_stem(tmp_path, DICOM) == ({k: v for k, v in found.items() if k[0] == "1"}, [found["fig.webp-day5"]])
    assert others == []


def test_hidden_files_do_not_count_and_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.dcm").touch()
    (tmp_path / "real" / "._a.dcm").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "linked").symlink_to(tmp_path / "real")
    assert files_by_stem(tmp_path / "tree", DICOM) == ({"a": str(tmp_path / "tree" / "linked" / "a.dcm")}, [])


def test_two_files_of_one_stem_are_refused(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "a.dcm").touch()
    with pytest.raises(ValueError, match=r"a\.dcm and .*a\.png are both case 'a'"):
        files_by_stem(tmp_path, IMAGES)


def test_a_source_is_called_after_its_folder_unless_it_has_a_name(tmp_path):
    assert source_name(Source(reader="siim", path=f"{tmp_path}/acr/")) == "acr"
    assert source_name(Source(reader="siim", path="x", name="mine")) == "mine"
