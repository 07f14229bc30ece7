"""What a preparation publishes, what it refuses, and that refusing leaves what was there before."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from chestseg.config import RadiographData, Source, VolumeData
from chestseg.data.preparation import plan, publish
from chestseg.data.prepared import PreparedDataset, shard_folder
from chestseg.data.report import PrepareReport
from tests.data.noisy_volumes import SPACINGS, write_volumes
from tests.data.pictures import SIZES, contents, prepare_plainly, write_pictures


def data(tmp_path: Path, *sources: Source, **settings: Any) -> RadiographData:
    return RadiographData(sources=sources, prepared=str(tmp_path / "out"), **{"sizes": SIZES, "folds": 3, **settings})


def write_csv(path: Path, column: str, rows: dict[str, object]) -> str:
    path.write_text(f"case_id,{column}\n" + "".join(f"{case_id},{value}\n" for case_id, value in rows.items()))
    return str(path)


def copy_case(source: Source, name: str, copy: str) -> None:
    for folder in ("images", "masks"):
        shutil.copy(Path(source.path, folder, f"{name}.png"), Path(source.path, folder, f"{copy}.png"))


def test_the_report_counts_what_was_read_left_out_and_why(tmp_path: Path) -> None:
    first, second = write_pictures(tmp_path / "first", 9, "a"), write_pictures(tmp_path / "second", 6, "b")
    Path(first.path, "masks", "a-004.png").unlink()
    Path(second.path, "images", "b-003.png").write_bytes(b"")
    report = prepare_plainly(data(tmp_path, first, second))
    counts = {name: (s.prepared.cases, s.prepared.positive, s.prepared.patients) for name, s in report.sources.items()}
    assert counts == {"first": (8, 3, 8), "second": (5, 1, 5)}
    assert [(reason.count, reason.examples) for reason in report.sources["first"].left_out] == [(1, ("a-004",))]
    assert [(reason.count, reason.examples) for reason in report.sources["second"].quarantined] == [(1, ("b-003",))]
    assert sum(counts.cases for counts in report.split.values()) == 13
    assert any("13 cases have no PatientID" in note for note in report.notes)
    assert any("grouping by patient says nothing" in note for note in report.notes)
    text = "\n".join(report.lines())
    assert "left out: 1 of first" in text and "quarantined: 1 of second" in text and "0 bytes" in text
    assert all(line == line.rstrip() for line in report.lines())


def test_the_folder_holds_manifest_report_quarantine_and_marker(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source", 9)
    Path(source.path, "images", "case-001.png").write_bytes(b"")
    report, out = prepare_plainly(data(tmp_path, source)), tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.parquet", "prepared.json", "quarantine.csv", "report.json", "shards"]
    split = {"folds": 3, "test_share": 0.1, "seed": 0}
    marker = {"format": 1, "sizes": list(SIZES), "dataset_hash": report.dataset_hash, "split": split}
    kept = json.loads((out / "prepared.json").read_text())
    assert str(tmp_path) not in json.dumps(kept.pop("basis")) and kept == marker
    assert json.loads((out / "report.json").read_text()) == report.model_dump(mode="json")
    with open(out / "quarantine.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["case_id"] == "case-001" and row["path"].endswith("case-001.png") and row["reason"].startswith("the file is empty")
    assert len(pq.read_table(out / "manifest.parquet")) == 8


def test_two_runs_give_identical_bytes(tmp_path: Path) -> None:
    settings = data(tmp_path, write_pictures(tmp_path / "source", 70))
    prepare_plainly(settings)
    first = contents(tmp_path / "out")
    assert not plan(settings).pending
    prepare_plainly(settings)
    assert contents(tmp_path / "out") == first
    shutil.rmtree(tmp_path / "out")
    prepare_plainly(settings)
    assert contents(tmp_path / "out") == first


def test_a_repaired_file_is_taken_in(tmp_path: Path) -> None:
    settings = data(tmp_path, source := write_pictures(tmp_path / "source", 9))
    path = Path(source.path, "images", "case-001.png")
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    assert prepare_plainly(settings).sources["source"].prepared.cases == 8
    path.write_bytes(whole)
    assert prepare_plainly(settings).sources["source"].prepared.cases == 9


def test_shards_no_longer_wanted_and_leavings_are_removed(tmp_path: Path) -> None:
    settings = data(tmp_path, source := write_pictures(tmp_path / "source", 70))
    prepare_plainly(settings)
    (tmp_path / "out" / "shards" / ".00001.killed").mkdir()
    for name in range(60, 70):
        Path(source.path, "images", f"case-0{name}.png").unlink()
        Path(source.path, "masks", f"case-0{name}.png").unlink()
    prepare_plainly(settings)
    assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["00000"]


def test_copies_under_two_patients_share_a_fold(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source", 9)
    copy_case(source, "case-000", "copy")
    patients = write_csv(tmp_path / "patients.csv", "patient_id", {"case-000": "ann", "copy": "ben", "case-007": "ben"})
    report = prepare_plainly(data(tmp_path, source, patients_file=patients))
    dataset = PreparedDataset.open(tmp_path / "out")
    places = {(dataset.fold[dataset.case_ids.index(case)]) for case in ("case-000", "copy", "case-007")}
    assert len(places) == 1
    assert any(note.startswith("1 images occur under different patients") for note in report.notes)
    assert "data.patients_file names 3 of 10 cases" in report.notes


def test_copies_with_different_masks_are_reported(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source", 9)
    copy_case(source, "case-000", "copy")
    shutil.copy(Path(source.path, "masks", "case-001.png"), Path(source.path, "masks", "copy.png"))
    notes = prepare_plainly(data(tmp_path, source)).notes
    assert any(note.startswith("1 images occur with different masks") and "case-000 and copy" in note for note in notes)


@pytest.mark.parametrize("leak", ["pixels", "patient"])
def test_folds_file_that_leaks_is_refused_and_the_earlier_set_stays(tmp_path: Path, leak: str) -> None:
    source = write_pictures(tmp_path / "source", 9)
    copy_case(source, "case-000", "copy")
    prepare_plainly(data(tmp_path, source))
    before = contents(tmp_path / "out")
    rows = {f"case-00{i}": i % 3 for i in range(9)} | {"copy": 1 if leak == "pixels" else 0}
    settings: dict[str, Any] = {"folds_file": write_csv(tmp_path / "folds.csv", "fold", rows)}
    if leak == "patient":
        settings["patients_file"] = write_csv(tmp_path / "patients.csv", "patient_id", {"case-001": "ann", "case-002": "ann"})
    cases = r"case-000 \(fold 0\) and copy \(fold 1\)" if leak == "pixels" else r"case-001 \(fold 1\) and case-002 \(fold 2\)"
    with pytest.raises(ValueError, match=f"leak: cases {cases}"):
        prepare_plainly(data(tmp_path, source, sizes=SIZES, **settings))
    assert contents(tmp_path / "out") == before


def test_cases_the_folds_file_does_not_name_are_left_out(tmp_path: Path) -> None:
    folds = write_csv(tmp_path / "folds.csv", "fold", {f"case-00{i}": "test" if i == 5 else i % 3 for i in range(6)})
    report = prepare_plainly(data(tmp_path, write_pictures(tmp_path / "source", 9), folds_file=folds))
    assert {name: counts.cases for name, counts in report.split.items()} == {"test": 1, "fold 0": 2, "fold 1": 2, "fold 2": 1}
    assert [(r.reason, r.count) for r in report.sources["source"].left_out] == [("not in data.folds_file", 3)]


def test_a_fold_without_positives_is_reported(tmp_path: Path) -> None:
    folds = write_csv(tmp_path / "folds.csv", "fold", {f"case-00{i}": i % 3 for i in range(9)})
    notes = prepare_plainly(data(tmp_path, write_pictures(tmp_path / "source", 9), folds_file=folds)).notes
    assert [note[:6] for note in notes if "no positive case" in note] == ["fold 1", "fold 2"]


def test_what_cannot_be_prepared_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source", 4)
    unknown = write_csv(tmp_path / "folds.csv", "fold", {f"case-00{i}": i for i in range(4)})
    unlabelled = source.model_copy(update={"masks": None})
    for settings, complaint in (
        (data(tmp_path, source, folds=5), "4 labelled cases for 5 folds: lower data.folds or add cases"),
        (data(tmp_path, unlabelled), "source: no image has a mask"),
        (data(tmp_path, source, sizes=(2**20,)), "out: the prepared dataset needs 8796.1 GB and .* free some space"),
        (data(tmp_path, source, folds=4, folds_file=unknown.replace("folds", "absent")), "absent.csv: No such file"),
        (data(tmp_path, write_pictures(tmp_path / "less", 3), folds=4, folds_file=unknown), "no source has case 'case-003'"),
        (data(tmp_path, source.model_copy(update={"path": str(tmp_path / "absent")})), "absent"),
    ):
        with pytest.raises(ValueError, match=complaint) as refusal:
            prepare_plainly(settings)
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_all_files_broken_is_refused(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source", 4)
    for path in Path(source.path, "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 4 labelled cases can be read; .*case-000\.png"):
        prepare_plainly(data(tmp_path, source))
    assert not (tmp_path / "out" / "prepared.json").exists()


def test_shards_another_machine_kept_to_itself_are_missed(tmp_path: Path) -> None:
    settings = data(tmp_path, write_pictures(tmp_path / "source", 9))
    prepare_plainly(settings)
    shutil.rmtree(shard_folder(tmp_path / "out", 0))
    with pytest.raises(ValueError, match=r"00000 is not there: data\.prepared must be a folder that all nodes share"):
        publish(plan(settings))


def test_real_images_in_the_fixed_folds(real_data: Path, tmp_path: Path) -> None:
    sources = (
        Source(reader="siim", path=str(real_data / "siim")),
        Source(reader="image_folder", path=str(real_data / "pneumothorax_png")),
        Source(reader="image_folder", path=str(real_data / "covid_cxr_png"), masks=None, without_mask="negative"),
    )
    report = prepare_plainly(data(tmp_path, *sources, folds=5, folds_file=str(real_data / "cxr_folds.csv")))
    counts = {name: (source.prepared.cases, source.prepared.positive) for name, source in report.sources.items()}
    assert counts == {"covid_cxr_png": (75, 0), "pneumothorax_png": (30, 30), "siim": (10, 5)}
    assert [report.split[f"fold {k}"].cases for k in range(5)] == [23] * 5 and report.split["test"].cases == 0


def test_a_split_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    told = data(tmp_path, write_pictures(tmp_path / "source", 9))
    prepare_plainly(told)
    dataset = PreparedDataset.open(told.prepared)
    dataset.require_split(told)
    with pytest.raises(ValueError, match="was prepared with data.seed 0, now it is 4: prepare it"):
        dataset.require_split(told.model_copy(update={"seed": 4}))


def test_what_somebody_else_keeps_beside_the_shards_stays(tmp_path: Path) -> None:
    told = data(tmp_path, write_pictures(tmp_path / "source", 9))
    prepare_plainly(told)
    shards = Path(told.prepared, "shards")
    for name in ("mine", "00009", ".00000.torn"):
        (shards / name).mkdir()
    prepare_plainly(told)
    assert {"mine", "00000"} <= {path.name for path in shards.iterdir()}
    assert {"00009", ".00000.torn"}.isdisjoint(path.name for path in shards.iterdir())


def test_shards_of_an_earlier_version_are_taken_as_they_are(tmp_path: Path) -> None:
    told = data(tmp_path, write_pictures(tmp_path / "source", 9))
    prepare_plainly(told)
    rows = shard_folder(tmp_path / "out", 0) / "rows.parquet"
    new = ["depth", "spacing_slice"]
    pq.write_table(pq.read_table(rows).drop(new), rows)
    assert not plan(told).pending
    prepare_plainly(told)
    assert pq.read_table(tmp_path / "out" / "manifest.parquet").select(new).to_pylist() == [dict.fromkeys(new)] * 9


def volumes(tmp_path: Path, *sources: Source, **settings: Any) -> VolumeData:
    return VolumeData(sources=sources, prepared=str(tmp_path / "out"), **{"spacings": SPACINGS, "folds": 3, **settings})


def test_volumes_are_published_the_same_way(tmp_path: Path) -> None:
    source = write_volumes(tmp_path / "source", 9)
    Path(source.path, "images", "case-004.nii.gz").write_bytes(b"")
    Path(source.path, "masks", "case-005.nii.gz").unlink()
    report, out = prepare_plainly(volumes(tmp_path, source)), tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.parquet", "prepared.json", "quarantine.csv", "report.json", "shards"]
    marker = json.loads((out / "prepared.json").read_text())
    assert marker.pop("basis")["sources"][0]["reader"] == source.reader
    assert marker == {
        "format": 1,
        "spacings": [list(spacing) for spacing in SPACINGS],
        "window": [-1000, 400],
        "series": "strict",
        "dataset_hash": report.dataset_hash,
        "split": {"folds": 3, "test_share": 0.1, "seed": 0},
    }
    assert report == PrepareReport.model_validate_json((out / "report.json").read_text())
    (counts,) = report.sources.values()
    assert (counts.prepared.cases, counts.prepared.positive) == (7, 3)
    assert [reason.examples for reason in (*counts.left_out, *counts.quarantined)] == [("case-005",), ("case-004",)]
    assert report.lines()[-1] == f"dataset {report.dataset_hash}, spacings 5x1.5x1.5, 5x3x3 mm"
    assert len(PreparedDataset.open(out)) == 7


def test_two_runs_of_volumes_give_identical_bytes_and_keep_finished_shards(tmp_path: Path) -> None:
    settings = volumes(tmp_path, write_volumes(tmp_path / "source", 6))
    prepare_plainly(settings)
    first = contents(tmp_path / "out")
    shutil.rmtree(shard_folder(tmp_path / "out", 2))
    assert [shard.index for shard in plan(settings).pending] == [2]
    prepare_plainly(settings)
    assert contents(tmp_path / "out") == first


def test_what_was_converted_is_reported(tmp_path: Path) -> None:
    source = write_volumes(tmp_path / "source", 4).model_copy(update={"window": (-3000, 600)})
    report = prepare_plainly(volumes(tmp_path, source))
    notes = [note for note in report.notes if "taken as" in note]
    assert notes == ["4 of source: values -3000 to 600 taken as -1000 to 400 HU (case-000, case-001, case-002, ...)"]


def test_copies_of_a_volume_share_a_fold(tmp_path: Path) -> None:
    source = write_volumes(tmp_path / "source", 9)
    for folder in ("images", "masks"):
        shutil.copy(Path(source.path, folder, "case-000.nii.gz"), Path(source.path, folder, "copy.nii.gz"))
    report = prepare_plainly(volumes(tmp_path, source))
    dataset = PreparedDataset.open(tmp_path / "out")
    assert len({dataset.fold[dataset.case_ids.index(case)] for case in ("case-000", "copy")}) == 1
    assert any(note.startswith("1 images occur under different patients") for note in report.notes)


def test_no_space_for_volumes_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = write_volumes(tmp_path / "source", 4)
    with pytest.raises(ValueError, match="out: the prepared dataset needs 448000000.0 GB and .* free some space"):
        prepare_plainly(volumes(tmp_path, source, spacings=((0.001, 0.001, 0.001),)))
    assert not (tmp_path / "out").exists()
