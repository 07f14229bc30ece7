"""Files, folders and patterns to a list of images, and names that never collide."""

import os
from pathlib import Path

import pytest

from chestseg.inference.inputs import case_names, list_images

DICOM = b"\0" * 128 + b"DICM"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.dcm", ".cache/d.png", "sub/train.csv", "DICOMDIR"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "sub/1.2.840.7").write_bytes(DICOM)
    return tmp_path


def found(tree: Path, *named: str) -> list[str]:
    return [path.relative_to(tree).as_posix() for path in list_images([str(tree / name) for name in named])]


def test_folder_stands_for_the_images_below_it(tree: Path) -> None:
    assert found(tree, ".") == ["a.JPG", "b.png", "sub/1.2.840.7", "sub/c.dcm"]


def test_patterns_files_and_folders_each_once(tree: Path) -> None:
    assert found(tree, "*.png", "b.png", "sub") == ["b.png", "sub/1.2.840.7", "sub/c.dcm"]
    assert found(tree, "**/*.dcm") == ["sub/c.dcm"]
    assert found(tree, "su*") == ["sub/1.2.840.7", "sub/c.dcm"]


def test_named_file_is_taken_as_it_is(tree: Path) -> None:
    assert found(tree, "notes.txt", "absent.png") == ["notes.txt", "absent.png"]


def test_file_whose_name_looks_like_a_pattern(tree: Path) -> None:
    (tree / "x[1].png").write_bytes(b"x")
    assert found(tree, "x[1].png") == ["x[1].png"]


def test_nothing_found_is_an_error_with_the_remedy(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no DICOM, PNG or JPEG in this folder"):
        found(tree, "empty")
    with pytest.raises(ValueError, match="no file matches this pattern"):
        found(tree, "*.tif")


def test_link_back_to_the_folder_is_not_followed(tree: Path) -> None:
    os.symlink(tree, tree / "sub" / "loop")
    assert len(found(tree, ".")) == 4


def test_names_are_stems_and_uids_stay_whole() -> None:
    assert case_names([Path("x/a.png"), Path("1.2.840.7.dcm"), Path("1.2.840.8")]) == ["a", "1.2.840.7", "1.2.840.8"]


def test_equal_stems_are_told_apart_by_their_paths_in_any_order() -> None:
    paths = [Path("x/a.png"), Path("y/A.png"), Path("x/a.dcm"), Path("b.png")]
    names = case_names(paths)
    assert names[3] == "b" and len({name.casefold() for name in names}) == 4
    assert all(name.lower().startswith("a-") for name in names[:3])
    assert case_names(paths[::-1]) == names[::-1]
