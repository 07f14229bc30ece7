"""Scores of prepared volumes: what the network sees, where masks are compared, sources apart."""

import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.config import Source, VolumeData
from chestseg.data.prepared_volumes import PreparedVolumes
from chestseg.evaluation.volumes import evaluate_volumes
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.nifti import read_nifti, write_nifti
from tests.data.pictures import prepare_plainly
from tests.inference.tiny_volume import LUNG, SPACING, WINDOW, band, chest

FINE = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedVolumes:
    """Three chests of voxels half as wide as the network's: the right lung's infiltrate, both, none at all (of another source)."""
    root = tmp_path_factory.mktemp("volumes")
    hu, _, infiltrates = chest(scale=2)
    grid = Grid.upright((hu.shape[0], hu.shape[1], hu.shape[2]), FINE)
    right = infiltrates.copy()
    right[..., hu.shape[2] // 2 :] = False
    for name, kept in {"ill/1": right, "ill/2": infiltrates, "well/3": np.zeros_like(right)}.items():
        folder, case_id = name.split("/")
        write_nifti(root / folder / "images" / f"{case_id}.nii.gz", Volume(np.where(infiltrates & ~kept, np.int16(LUNG), hu), grid))
        write_nifti(root / folder / "masks" / f"{case_id}.nii.gz", Volume(kept.astype(np.uint8), grid))
    sources = tuple(Source(reader="nifti_folder", path=str(root / folder)) for folder in ("ill", "well"))
    prepare_plainly(VolumeData(sources=sources, prepared=str(root / "out"), spacings=(SPACING,), window=WINDOW, folds=2, test_share=0))
    return PreparedVolumes.open(root / "out")


def test_rows_follow_the_indices(dataset: PreparedVolumes) -> None:
    result = evaluate_volumes(VolumePredictor(band()), dataset, np.array([2, 0]))
    assert [(row.case_id, row.source, row.positive) for row in result.rows] == [("3", "well", False), ("1", "ill", True)]


def test_masks_are_compared_as_they_were_drawn(dataset: PreparedVolumes) -> None:
    result = evaluate_volumes(VolumePredictor(band()), dataset, range(3))
    for index, row in enumerate(result.rows):
        truth, spacing = dataset.truth(index)
        assert spacing == FINE and row.truth_ml == pytest.approx(truth.sum() * 0.008)
        assert row.lesions == row.lesions_found == (1, 2, 0)[index]
    assert result.summary.dice_positives is not None and result.summary.dice_positives > 0.85
    assert result.summary.all_empty == pytest.approx(1 / 3)


def test_prediction_is_that_of_the_source_itself(dataset: PreparedVolumes) -> None:
    predictor = VolumePredictor(band())
    found = predictor.predict(read_nifti(dataset.table["image"].to_pylist()[1]))
    assert evaluate_volumes(predictor, dataset, [1]).rows[0].predicted_ml == pytest.approx(found.volume_ml)


def test_sources_apart(dataset: PreparedVolumes) -> None:
    result = evaluate_volumes(VolumePredictor(band()), dataset, range(3))
    assert {name: summary.n for name, summary in result.by_source.items()} == {"ill": 2, "well": 1}
    assert result.by_source["well"].dice_positives is None


def test_model_of_another_spacing_or_window_is_refused(dataset: PreparedVolumes) -> None:
    for change, message in (
        ({"spacing": (2.0, 1.0, 1.0)}, r"spacing.* \[2\.0, 1\.0, 1\.0\].* data\.spacings"),
        ({"window": (-1350.0, 150.0)}, r"the model's window is \[-1350\.0, 150\.0\] HU, .* data\.window as the model's"),
    ):
        model = band()
        other = model._replace(preprocessing=model.preprocessing.model_copy(update=change))
        with pytest.raises(ValueError, match=message):
            evaluate_volumes(VolumePredictor(other), dataset, [0])


def test_no_case_no_score(dataset: PreparedVolumes) -> None:
    assert evaluate_volumes(VolumePredictor(band()), dataset, []).summary.mean_dice is None
