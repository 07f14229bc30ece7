"""Scores of a split: what the network sees, where masks are compared, sources apart."""

import numpy as np
import pyarrow as pa
import pytest

from chestseg.config import Postprocessing
from chestseg.data.prepared import PreparedDataset
from chestseg.data.prepared_radiographs import PreparedRadiographs
from chestseg.evaluation.evaluate import evaluate, shown_mm2
from chestseg.inference.predictor import Predictor
from tests.evaluation.prepared import COUNT, write_prepared
from tests.inference.tiny import bright


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


def test_rows_follow_the_indices(dataset: PreparedDataset) -> None:
    result = evaluate(Predictor(bright(), batch=2), dataset, np.array([4, 0, 1]))
    assert [row.case_id for row in result.rows] == ["case-4", "case-0", "case-1"]
    assert [row.source for row in result.rows] == ["chests", "others", "chests"]
    assert [row.positive for row in result.rows] == [True, False, True]


def test_masks_are_compared_at_the_largest_prepared_size(dataset: PreparedDataset) -> None:
    result = evaluate(Predictor(bright()), dataset, range(COUNT))
    assert result.size == 128
    for index, row in enumerate(result.rows):
        assert row.truth_px == dataset.mask(index, 128).sum()
    assert result.summary.dice_positives is not None and 0.95 < result.summary.dice_positives < 1
    assert result.summary.specificity == 1.0 and result.summary.all_empty == pytest.approx(1 / 3)


def test_another_size_when_asked_for(dataset: PreparedDataset) -> None:
    result = evaluate(Predictor(bright()), dataset, [1], size=64)
    assert result.size == 64 and result.rows[0].truth_px == dataset.mask(1, 64).sum()


def test_batches_do_not_change_scores(dataset: PreparedDataset) -> None:
    alone = evaluate(Predictor(bright(), batch=1), dataset, range(COUNT))
    assert alone == evaluate(Predictor(bright(), batch=4), dataset, range(COUNT))


def test_sources_apart(dataset: PreparedDataset) -> None:
    result = evaluate(Predictor(bright()), dataset, range(COUNT))
    assert list(result.by_source) == ["chests", "others"]
    assert result.by_source["others"].n_positive == 0 and result.by_source["others"].dice_positives is None
    assert result.by_source["chests"].n + result.by_source["others"].n == COUNT


def test_network_larger_than_what_was_prepared_is_refused(dataset: PreparedDataset) -> None:
    with pytest.raises(ValueError, match=r"size 256 is larger .*prepare again"):
        evaluate(Predictor(bright(size=256)), dataset, [0])


def test_no_case_no_score(dataset: PreparedDataset) -> None:
    assert evaluate(Predictor(bright()), dataset, []).summary.mean_dice is None


def test_least_area_is_counted_in_the_patient(dataset: PreparedDataset) -> None:
    """Case 1's rectangle is 25 of 128 rows by 61 of 128 columns: 9.3 % of what the radiograph shows."""
    facts = {"sizes": (64, 128), "dataset_hash": dataset.hash, "split": {}}
    table = dataset.table
    for name, value in {"height": 1000, "width": 800, "spacing_row": 0.4, "spacing_col": 0.5}.items():
        place = table.column_names.index(name)
        column = pa.array(
            [None if name.startswith("spacing") and index == 2 else value for index in range(COUNT)], table.schema.types[place]
        )
        table = table.set_column(place, name, column)
    spaced = PreparedRadiographs(dataset.folder, table, facts)
    assert shown_mm2(spaced, [2, 1]) == [None, 160_000]
    for least, found in ((0.09, (True, True)), (0.1, (False, True))):
        rows = evaluate(Predictor(bright(Postprocessing(min_area_mm2=least * 160_000))), spaced, [1, 2]).rows
        assert tuple(row.present for row in rows) == found
