"""The tables of an evaluation, byte for byte."""

import json
from pathlib import Path

from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.table import format_table, write_cases, write_summary
from chestseg.metrics import CaseScore

POSITIVE = CaseScore("1.2.3", "siim", 400, 200, 2 / 3, 0.5, 0.91)
NEGATIVE = CaseScore("covid, 4", "covid", 0, 0, 1.0, 1.0, 0.02)
BOTH = EvaluationResult((POSITIVE, NEGATIVE), 1024)


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


def test_lines_to_read() -> None:
    assert format_table(BOTH).splitlines() == [
        "       cases  positive  mean Dice  all empty  Dice positives  sensitivity  specificity",
        "all        2         1     0.8333     0.5000          0.6667       1.0000       1.0000",
        "covid      1         0     1.0000     1.0000               -            -       1.0000",
        "siim       1         1     0.6667     0.0000          0.6667       1.0000            -",
    ]


def test_one_source_needs_one_line() -> None:
    assert len(format_table(EvaluationResult((POSITIVE,), 512)).splitlines()) == 2
