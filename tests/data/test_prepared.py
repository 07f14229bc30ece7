"""A prepared dataset opens as what it holds, light, and says which cases belong where."""

import subprocess
import sys
from pathlib import Path

import pytest

from chestseg.config import RadiographData, VolumeData
from chestseg.data.prepared import PreparedDataset
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.data.prepared_volumes import PreparedVolumes
from tests.data.noisy_volumes import SPACINGS, write_volumes
from tests.data.pictures import prepare_plainly, write_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    prepare_plainly(RadiographData(sources=(write_pictures(root / "source", 70),), prepared=str(root / "out"), sizes=(32, 64), folds=4))
    return root / "out"


def test_indices_of_folds_and_splits(folder: Path) -> None:
    dataset = PreparedDataset.open(folder)
    test, train = dataset.indices("test"), dataset.indices()
    assert sorted([*test, *train]) == list(range(len(dataset))) and len(test) == 7
    held_out, rest = dataset.indices(fold=2), dataset.indices(exclude_fold=2)
    assert sorted([*held_out, *rest]) == train.tolist() and set(dataset.fold[held_out]) == {2}
    assert dataset.indices("test", exclude_fold=2).tolist() == test.tolist()


def test_columns_are_those_of_the_manifest(folder: Path) -> None:
    dataset = PreparedDataset.open(folder)
    assert len(dataset.hash) == 16
    assert dataset.case_ids == [f"case-{i:03d}" for i in range(70)]
    assert dataset.positive.tolist() == [i % 3 == 0 for i in range(70)]
    assert len(set(dataset.patient_ids)) == 70, "cases without a patient are patients of their own"


def test_opens_as_what_it_holds(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_plainly(VolumeData(sources=(write_volumes(tmp_path / "source", 3),), prepared=str(out), spacings=SPACINGS, folds=2))
    assert type(PreparedDataset.open(folder)) is type(PreparedRadiographs.open(folder)) is PreparedRadiographs
    assert type(PreparedDataset.open(out)) is type(PreparedVolumes.open(out)) is PreparedVolumes
    with pytest.raises(ValueError, match="out: holds volumes, not radiographs: choose another folder as data.prepared"):
        PreparedRadiographs.open(out)
    with pytest.raises(ValueError, match="out: holds radiographs, not volumes"):
        PreparedVolumes.open(folder)
    sources = {"sources": [{"reader": "siim", "path": "x"}], "prepared": "y", "folds": 2}
    with pytest.raises(ValueError, match=r"out holds volumes, which `track` is not about: give another folder"):
        PreparedDataset.open(out).require_split(RadiographData.model_validate(sources))


def test_opens_without_ray_or_a_dicom_reader() -> None:
    program = "import sys, chestseg.data.prepared; print(sorted({'ray', 'pydicom', 'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_unfinished_and_foreign_sets_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no prepared dataset, or its preparation did not end: prepare it with `python jobs/prepare"):
        PreparedDataset.open(tmp_path)
    (tmp_path / "prepared.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"of format 99, this version reads 1: prepare it"):
        PreparedDataset.open(tmp_path)
