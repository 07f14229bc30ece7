"""The report of an evaluation: what stands in it, what never does, and how a browser shows it."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from chestseg.bundle import save_bundle
from chestseg.data.manifest import write_table
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.agreement import volume_agreement
from chestseg.evaluation.charts import draw_agreement, draw_reliability, draw_roc
from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.pictures import shown
from chestseg.evaluation.report import Evaluated, write_report
from chestseg.evaluation.report_cases import Shows, chosen_cases, in_words
from chestseg.evaluation.score import score
from chestseg.evaluation.statistics import image_curves, score_statistics
from chestseg.evaluation.subgroups import case_facts
from chestseg.evaluation.summary import summarise_groups
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.evaluation.words import NAMES, nothing_predicted
from chestseg.evaluation.write import case_numbers, write_evaluation
from chestseg.inference.predictor import Predictor
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore
from tests.evaluation.prepared import write_prepared
from tests.inference.tiny import bright, tiny_network, tiny_spec
from tests.page.in_browser import DESKTOP, PHONE, browser, look_at

PATIENT = "DOE^JANE-4711"


def identified(folder: Path) -> PreparedDataset:
    """Nine radiographs whose manifest holds what must not leave it."""
    table = write_prepared(folder).table
    words = {
        "patient_id": [f"{PATIENT}-{n}" for n in range(9)],
        "case_id": [f"1.2.826.0.1.3680043.{n}" for n in range(9)],
        "image": [f"/hospital/{PATIENT}/{n}.dcm" for n in range(9)],
        "sex": ["F", "M", "F"] * 3,
        "age": ["034Y", "071Y", None] * 3,
    }
    for name, values in words.items():
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    write_table(folder / "manifest.parquet", table)
    return PreparedDataset.open(folder)


def evaluated(tmp_path: Path) -> tuple[Evaluated, Shows]:
    dataset = identified(tmp_path / "prepared")
    predictor = Predictor(bright())
    indices = np.arange(9)
    result = score(predictor, dataset, indices)
    scores = write_evaluation(tmp_path / "out", result, dataset, {})
    bundle = save_bundle(tmp_path / "bundle", tiny_spec(experiment={"fold": 0}), tiny_network().state_dict())
    return Evaluated(bundle, dataset, "all", indices, result, scores, ("seen in training",)), partial(shown, predictor, dataset)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return write_report(*evaluated(folder), folder / "out")


def test_it_says_what_was_found_beside_predicting_nothing_and_of_what(report: Path) -> None:
    text = report.read_text()
    for wanted in (
        "predicting nothing", "95 % interval", "ROC curve", "reliability curve", "Subgroups", "seen in training",
        "no intervals for fewer than 10",
        "bundle (SHA-256)", "dataset evaluated", "sex: female", "age: 60 to 79", "not a medical device", "Worst: Dice",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_cases_are_numbers_there_and_only_the_local_table_knows_them(report: Path) -> None:
    text, table = report.read_text(), (report.parent / "cases.csv").read_text()
    for identifier in (PATIENT, "1.2.826", "hospital", "case-"):
        assert identifier not in text
    numbers = [line.rpartition(",")[2] for line in table.splitlines()[1:]]
    assert "1.2.826" in table and len(set(numbers)) == 9
    pictures = sorted(path.stem for path in (report.parent / "cases").iterdir())
    assert pictures and set(pictures) <= set(numbers) and all(f"Case {name}." in text for name in pictures)
    for path in (report.parent / "cases").iterdir():
        assert b"tEXt" not in path.read_bytes() and path.read_bytes().startswith(b"\x89PNG")


def test_a_number_follows_from_identifier_and_pixels(tmp_path: Path) -> None:
    dataset = write_prepared(tmp_path)
    first = case_numbers(dataset, ["case-1", "case-0"])
    assert case_numbers(dataset, ["case-0", "case-1"]) == first[::-1] and len(set(first)) == 2
    column = dataset.table.column_names.index("pixel_hash")
    table = dataset.table.set_column(column, "pixel_hash", pa.array(["other"] * 9))
    other = PreparedDataset(dataset.folder, table, {"dataset_hash": "x", "split": {}})
    assert set(case_numbers(other, ["case-1", "case-0"])).isdisjoint(first)


@pytest.mark.browser
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_in_a_browser(report: Path, width: int, tmp_path: Path) -> None:
    folder = Path(os.environ.get("CHESTSEG_PICTURES", tmp_path))
    with browser() as chromium:
        light = look_at(chromium, report, width, screenshot=folder / f"report-{width}.png")
        dark = look_at(chromium, report, width, "dark")
    assert light.width <= width and light.images and all(light.images)
    assert not light.requests and not light.complaints and not dark.complaints
    assert light.paper != dark.paper


POSITIVES = [CaseScore(str(n), "a", 100, 90 if n else 0, n / 10, n / 20, n / 10) for n in range(10)]
HEALTHY = [CaseScore("10", "a", 0, 40, 0.0, 0.0, 0.6), CaseScore("11", "a", 0, 0, 1.0, 1.0, 0.0)]


def test_failures_come_first_and_false_masks_are_among_them() -> None:
    chosen = chosen_cases([*POSITIVES, *HEALTHY])
    assert chosen == {"Worst": [0, 10, 1, 2, 3, 4], "Median": [3, 4, 5], "Best": [9, 8, 7]}
    assert in_words(POSITIVES[0]).startswith("Dice 0.000, left empty; true 100 px, predicted 0 px")
    assert "a mask where there is no lesion" in in_words(HEALTHY[0])
    assert chosen_cases(HEALTHY[1:]) == {"Worst": [], "Median": [], "Best": []}


def test_predicting_nothing_is_what_the_scores_say_of_it() -> None:
    result = EvaluationResult((*POSITIVES, *HEALTHY), 64)
    empty = nothing_predicted(result)
    assert empty.summary.mean_dice == result.summary.all_empty == 2 / 12
    assert (empty.summary.sensitivity, empty.summary.specificity, empty.summary.dice_positives) == (0, 1, 0)
    ill = VolumeScore("p1", "x", 120.0, 100.0, -20.0, 0.7, 0.5, 11.0, 0.7, 4, 3, 1)
    well = VolumeScore("p2", "x", 0.0, 3.0, 3.0, 0.0, 0.0, None, 0.0, 0, 0, 1)
    volumes = nothing_predicted(VolumeEvaluation((ill, well)))
    assert isinstance(volumes, VolumeEvaluation)
    summary = volumes.summary
    assert (summary.mean_dice, summary.hd95_mm, summary.nsd, summary.false_lesions, summary.volume_error_ml) == (0.5, None, 0.0, 0.0, -60.0)
    assert set(score_statistics(volumes.rows)) - {"all_empty"} <= set(NAMES)


def test_charts_of_one_case_or_one_class_are_drawn() -> None:
    assert image_curves(POSITIVES).roc is None
    curves = image_curves([*POSITIVES, *HEALTHY])
    assert curves.roc and all(b"<svg" in found for found in (draw_roc(curves.roc, None, None), draw_reliability(curves)))
    one = VolumeScore("p1", "x", 120.0, 100.0, -20.0, 0.7, 0.5, 11.0, 0.7, 4, 3, 1)
    assert b"<svg" in draw_agreement(volume_agreement([one], ["p1"]))


def test_one_class_is_said_and_nan_is_refused(tmp_path: Path) -> None:
    found, shows = evaluated(tmp_path)
    ill = [place for place, row in enumerate(found.result.rows) if row.positive]
    result = EvaluationResult(tuple(found.result.rows[place] for place in ill), 128)  # type: ignore[arg-type]
    facts = case_facts(found.dataset, [row.case_id for row in result.rows])
    one_class = replace(found, result=result, indices=np.array(ill), scores=summarise_groups(result, facts))
    text = write_report(one_class, shows, tmp_path / "ill").read_text()
    assert "no negatives: scores over them are missing" in text and "there is no ROC curve" in text
    broken = EvaluationResult((replace(result.rows[0], probability=float("nan")), *result.rows[1:]), 128)
    with pytest.raises(ValueError, match="its probability is nan, not 0 to 1"):
        write_evaluation(tmp_path / "nan", broken, found.dataset, {})
