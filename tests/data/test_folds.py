"""Patients stay whole, strata are even, and only the seed and the names decide."""

import random
from pathlib import Path

import pytest

from chestseg.data.folds import group_patients, read_folds, read_patients, split_patients

CASES = 400
PATIENTS = [f"patient {i // 2 if i < 100 else i}" for i in range(CASES)]  # the first fifty have two cases each
POSITIVE = [i % 9 in (0, 4) for i in range(CASES)]


def test_no_patient_is_divided() -> None:
    fold, split = split_patients(PATIENTS, POSITIVE, 5, 0.1, seed=1)
    sides: dict[str, set[tuple[int | None, str]]] = {}
    for patient, *side in zip(PATIENTS, fold, split, strict=True):
        sides.setdefault(patient, set()).add(tuple(side))
    assert all(len(s) == 1 for s in sides.values())
    assert all((f is None) == (s == "test") for f, s in zip(fold, split, strict=True))


def test_folds_and_test_split_are_stratified() -> None:
    fold, _ = split_patients(PATIENTS, POSITIVE, 5, 0.1, seed=1)
    positives = [sum(p for p, f in zip(POSITIVE, fold, strict=True) if f == k) for k in range(5)]
    cases = [fold.count(k) for k in range(5)]
    assert max(positives) - min(positives) <= 1 and max(cases) - min(cases) <= 1
    test = [p for p, f in zip(POSITIVE, fold, strict=True) if f is None]
    assert 35 <= len(test) <= 45 and abs(sum(test) / len(test) - sum(POSITIVE) / CASES) < 0.06


def test_order_of_cases_does_not_matter() -> None:
    order = random.Random(0).sample(range(CASES), CASES)
    fold, split = split_patients(PATIENTS, POSITIVE, 5, 0.1, seed=1)
    shuffled = split_patients([PATIENTS[i] for i in order], [POSITIVE[i] for i in order], 5, 0.1, seed=1)
    assert shuffled == ([fold[i] for i in order], [split[i] for i in order])


def test_test_split_depends_on_the_seed_and_not_on_the_folds() -> None:
    splits = [split_patients(PATIENTS, POSITIVE, folds, 0.1, seed)[1] for folds, seed in ((5, 1), (8, 1), (5, 2))]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_share_of_the_test_split(share: float) -> None:
    _, split = split_patients([str(i) for i in range(40)], [False] * 40, 2, share, seed=0)
    assert split.count("test") == (max(1, 40 * share) if share else 0)


def test_fewer_patients_than_folds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"4 patients for 5 folds \(1 more are the test split\): lower data\.folds"):
        split_patients(["a", "a", "b", "c", "d", "e"], [True] * 6, 5, 0.2, seed=0)


def test_shared_pixels_join_patients_and_empty_ids_stand_alone() -> None:
    patients = ["ann", "ben", "ben", "cem", "", "", ""]
    pixels = ["1", "1", "2", "2", "3", "4", "4"]
    assert group_patients(patients, pixels) == ["patient:ann"] * 4 + ["pixels:3", "pixels:4", "pixels:4"]
    assert group_patients(patients[::-1], pixels[::-1]) == group_patients(patients, pixels)[::-1]


def test_folds_file_with_a_test_split(tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    path.write_text("source,case_id, fold\nx,a,0\nx, b ,1\nx,c,test\n")
    assert read_folds(path, 2) == {"a": 0, "b": 1, "c": None}


def test_real_folds_file(real_data: Path) -> None:
    assert len(read_folds(real_data / "cxr_folds.csv", 5)) == 115


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("case_id,fold\na,0\nb,2\n", r"line 3: fold '2' is neither 'test' nor 0 to 1"),
        ("case_id,fold\na,0.0\n", r"line 2: fold '0.0' is neither"),
        ("case_id,fold\na,0\nb,1\na,1\n", r"line 4: case 'a' was already named in line 2"),
        ("case_id,fold\na,0\nb\n", r"line 3: fold '' is neither"),
        ("case_id,fold\na,0\n", r"no case is in fold 1: set data\.folds"),
        ("case_id;fold\na;0\n", r"needs the columns case_id and fold, found case_id;fold"),
        ("", r"found nothing"),
        ("case_id,fold\n\xff,0\n", r"not a CSV in UTF-8"),
    ],
)
def test_unfit_folds_files_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "folds.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=complaint):
        read_folds(path, 2)


def test_missing_patients_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"patients\.csv: No such file or directory: correct the path"):
        read_patients(tmp_path / "patients.csv")
