"""The tables of an evaluation, byte for byte."""

import json
from pathlib import Path

from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.table import format_table, write_cases, write_summary
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore

POSITIVE = CaseScore("1.2.3", "siim", 400, 200, 2 / 3, 0.5, 0.91)
NEGATIVE = CaseScore("covid, 4", "covid", 0, 0, 1.0, 1.0, 0.02)
BOTH = EvaluationResult((POSITIVE, NEGATIVE), 1024)
INFILTRATE = VolumeScore("p1", "ricord", 120.5, 100.25, -20.25, 2 / 3, 0.5, 11.25, 0.7, 4, 3, 1)
CLEAR = VolumeScore("p2", "mosmed", 0.0, 0.0, 0.0, 1.0, 1.0, None, None, 0, 0, 0)
VOLUMES = VolumeEvaluation((INFILTRATE, CLEAR))


def test_row_for_each_case(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.csv", BOTH.rows)
    assert (tmp_path / "cases.csv").read_text() == (
        "case_id,source,positive,truth_px,predicted_px,dice,iou,probability,present\n"
        "1.2.3,siim,1,400,200,0.666667,0.5,0.91,1\n"
        '"covid, 4",covid,0,0,0,1.0,1.0,0.02,0\n'
    )


def test_summary_says_what_it_is_of_and_null_where_there_is_nothing(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.json", BOTH, {"split": "test"})
    content = json.loads((tmp_path / "summary.json").read_text())
    assert (content["split"], content["size"], content["summary"]["n"]) == ("test", 1024, 2)
    assert content["by_source"]["covid"]["dice_positives"] is None
    assert content["by_source"]["siim"]["specificity"] is None
    curves = content["curves"]
    assert curves["roc"]["true_positive_rate"][-1] == 1 and curves["roc"]["threshold"][0] is None
    assert [(found["cases"], found["positives"]) for found in curves["reliability"]] == [(1, 0.0), (1, 1.0)]
    assert round(curves["calibration_error"], 6) == 0.055  # (0.02 + 0.09) / 2


def test_lines_to_read() -> None:
    assert format_table(BOTH).splitlines() == [
        "       cases  positive  mean Dice  all empty  Dice positives  sensitivity  specificity",
        "all        2         1     0.8333     0.5000          0.6667       1.0000       1.0000",
        "covid      1         0     1.0000     1.0000               -            -       1.0000",
        "siim       1         1     0.6667     0.0000          0.6667       1.0000            -",
    ]


def test_one_source_needs_one_line() -> None:
    assert len(format_table(EvaluationResult((POSITIVE,), 512)).splitlines()) == 2


def test_volumes_have_the_columns_of_their_scores(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.csv", VOLUMES.rows)
    assert (tmp_path / "cases.csv").read_text() == (
        "case_id,source,positive,truth_ml,predicted_ml,volume_error_ml,dice,iou,hd95_mm,nsd,lesions,lesions_found,false_lesions,present\n"
        "p1,ricord,1,120.5,100.25,-20.25,0.666667,0.5,11.25,0.7,4,3,1,1\n"
        "p2,mosmed,0,0.0,0.0,0.0,1.0,1.0,,,0,0,0,0\n"
    )


def test_summary_of_volumes_says_how_far_surfaces_may_be_apart(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.json", VOLUMES, {"split": "test"})
    content = json.loads((tmp_path / "summary.json").read_text())
    assert "curves" not in content
    assert (content["tolerance_mm"], content["summary"]["hd95_mm"], content["by_source"]["mosmed"]["nsd"]) == (2.0, 11.25, None)


def test_lines_of_volumes_to_read() -> None:
    heading, *lines = format_table(VOLUMES).splitlines()
    assert heading.split("  ")[-1].strip() == "specificity" and "HD95 mm" in heading and "lesions found" in heading
    assert [line.split()[:7] for line in lines] == [
        ["all", "2", "1", "0.8333", "0.5000", "0.6667", "11.2"],
        ["mosmed", "1", "0", "1.0000", "1.0000", "-", "-"],
        ["ricord", "1", "1", "0.6667", "0.0000", "0.6667", "11.2"],
    ]


def test_no_case_no_row(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.csv", ())
    assert not (tmp_path / "cases.csv").read_text().strip()
