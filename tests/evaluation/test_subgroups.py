"""Groups of cases by what the manifest says of them."""

from pathlib import Path

import numpy as np
import pytest

from chestseg.evaluation.subgroups import NOT_STATED, CaseFacts, age_band, case_facts, lesion_sizes, subgroups
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore
from tests.evaluation.prepared import write_prepared


def radiograph(truth_px: int, source: str = "siim") -> CaseScore:
    return CaseScore("case", source, truth_px, 0, 0.5, 0.5, 0.5)


def volume(truth_ml: float) -> VolumeScore:
    return VolumeScore("case", "ricord", truth_ml, 0.0, 0.0, 0.5, 0.5, None, None, 0, 0, 0)


def facts(count: int, **columns: tuple[str | None, ...]) -> CaseFacts:
    nothing = (None,) * count
    stated = {"view": nothing, "sex": nothing, "age": nothing} | columns
    return CaseFacts(tuple(f"p{n}" for n in range(count)), 0, **stated)


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("034Y", "18 to 39"), ("017Y", "0 to 17"), ("018Y", "18 to 39"), ("080Y", "80 and over"), ("101Y", "80 and over"),
        ("007M", "0 to 17"), ("003W", "0 to 17"), ("240M", "18 to 39"), ("52", "40 to 59"), (" 060Y ", "60 to 79"),
        (None, NOT_STATED), ("", NOT_STATED), ("old", NOT_STATED), ("-5Y", NOT_STATED), ("413Y", NOT_STATED),
    ],
)  # fmt: skip
def test_bands_of_ages(age: str | None, band: str) -> None:
    assert age_band(age) == band


def test_quartiles_of_the_positives() -> None:
    groups = lesion_sizes([radiograph(size) for size in (0, 100, 200, 300, 400, 500, 600, 700, 800, 0)])
    assert [list(np.flatnonzero(members)) for members in groups.values()] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert (names := list(groups))[0] == "quartile 1: to 275 px" and names[3] == "quartile 4: to 800 px"


def test_equal_sizes_stay_together() -> None:
    groups = lesion_sizes([volume(size) for size in (2.0, 2.0, 2.0, 2.0, 2.0, 9.5)])
    assert [int(members.sum()) for members in groups.values()] == [5, 1]
    assert list(groups) == ["quartile 1: to 2.0 ml", "quartile 4: to 9.5 ml"]


def test_few_positives_have_no_quartiles() -> None:
    assert lesion_sizes([radiograph(size) for size in (10, 20, 30, 0)]) == {} == lesion_sizes([])


def test_groups_in_their_order_with_those_not_stated_last() -> None:
    rows = [radiograph(0) for _ in range(5)]
    found = subgroups(
        rows, facts(5, view=("PA", None, "LL", "ap ", "PA"), sex=("M", "F", "m", "", None), age=("090Y", "001Y") + (None,) * 3)
    )
    assert list(found) == ["view", "sex", "age"]
    assert list(found["view"]) == ["AP", "PA", "LL", NOT_STATED]
    assert list(found["sex"]) == ["female", "male", NOT_STATED]
    assert list(found["age"]) == ["0 to 17", "80 and over", NOT_STATED]
    assert np.flatnonzero(found["view"]["PA"]).tolist() == [0, 4]


def test_what_tells_no_cases_apart_is_left_out() -> None:
    rows = [radiograph(0), radiograph(0)]
    assert subgroups(rows, facts(2, view=("PA", "PA"))) == {}
    assert list(subgroups([radiograph(0), radiograph(0, "nih")], facts(2))["source"]) == ["nih", "siim"]


def test_every_case_is_in_one_group_of_a_grouping() -> None:
    rows = [radiograph(size, source) for size, source in zip(range(1, 9), "abababab", strict=True)]
    for groups in subgroups(rows, facts(8, sex=("M", "F", None, "M", "F", "M", "F", "M"))).values():
        assert (np.sum(list(groups.values()), axis=0) == 1).all()


def test_facts_are_the_manifests(tmp_path: Path) -> None:
    dataset = write_prepared(tmp_path / "prepared")
    found = case_facts(dataset, ["case-4", "case-0"])
    assert (found.patients, found.unnamed, found.view) == (("case-4", "case-0"), 0, (None, None))


def test_another_datasets_cases_are_refused(tmp_path: Path) -> None:
    dataset = write_prepared(tmp_path / "prepared")
    with pytest.raises(ValueError, match=r"has no case 'elsewhere' \(1 in all\): give the dataset that was evaluated"):
        case_facts(dataset, ["case-4", "elsewhere"])
