"""The files a sweep leaves say what its records say, and the best one trains to the same experiment."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from chestseg.config import Objective, load_experiment
from chestseg.training.windows import Window, with_window
from chestseg.tuning.result import Outcome, best_experiment, experiment_tried, write_result
from chestseg.tuning.space import experiment_of
from tests.tuning.outcomes import conduct


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return conduct(tmp_path_factory.mktemp("sweep"), finished=False, trials=24)


def test_the_best_yaml_loads_to_the_best_trial(outcome: Outcome, tmp_path: Path):
    write_result(outcome, tmp_path)
    best = outcome.best
    assert best
    header = [line for line in (tmp_path / "best.yaml").read_text().splitlines() if line.startswith("#")]
    assert header[-1] == f"# python jobs/train.py {tmp_path / 'best.yaml'}"
    assert f"Trial {best.number}" in header[0]
    loaded = load_experiment(tmp_path / "best.yaml")
    assert loaded == best_experiment(outcome.sweep, outcome.base, best, costs=outcome.costs)
    assert loaded.digest == experiment_tried(outcome.sweep, outcome.base, best, outcome.costs).digest
    assert (loaded.name, loaded.storage, loaded.tracking) == ("formula-best", outcome.base.storage, outcome.base.tracking)


def test_the_chosen_window_is_in_it_as_if_set_beforehand(outcome: Outcome):
    best = outcome.best
    assert best
    drawn = experiment_of(outcome.sweep, outcome.base, best.params, outcome.costs, best.number)
    chosen = best.extra["window"]["swa"]
    window = Window(chosen["skip"], chosen["last"], chosen["stride"])
    assert experiment_tried(outcome.sweep, outcome.base, best, outcome.costs) == with_window(drawn, window)
    assert drawn != with_window(drawn, window)


def test_an_experiment_on_all_folds_is_written_where_the_sweep_wants_it(outcome: Outcome, tmp_path: Path):
    write_result(outcome, tmp_path)
    assert not (tmp_path / "all.yaml").exists()
    write_result(replace(outcome, sweep=outcome.sweep.model_copy(update={"retrain": "all"})), tmp_path)
    assert load_experiment(tmp_path / "all.yaml").fold == "all"
    assert f"python jobs/train.py {tmp_path / 'all.yaml'}" in (tmp_path / "all.yaml").read_text()


def test_all_folds_and_another_fold(outcome: Outcome):
    best = outcome.best
    assert best
    every = best_experiment(outcome.sweep, outcome.base, best, "all", costs=outcome.costs)
    assert (every.fold, every.name) == ("all", "formula-all")
    assert best_experiment(outcome.sweep, outcome.base, best, 3, costs=outcome.costs).fold == 3
    with pytest.raises(ValueError, match="fold 9: there are folds 0 to 4"):
        best_experiment(outcome.sweep, outcome.base, best, 9, costs=outcome.costs)


def test_all_folds_keep_the_rule_that_was_chosen_for_the_best_trial(outcome: Outcome):
    """Nothing is held out there that one could be chosen on; with a fold held out one is chosen anew."""
    best = outcome.best
    assert best
    choosing = outcome.base.model_copy(update={"choose": Objective(name="mean_dice")})
    rule = {**choosing.postprocessing.model_dump(mode="json"), "threshold": 0.62, "top_threshold": 0.7, "min_area": 900.0}
    chosen = replace(best, extra=best.extra | {"rule": rule})
    every = best_experiment(outcome.sweep, choosing, chosen, "all", costs=outcome.costs)
    assert every.choose is None and every.postprocessing.model_dump(mode="json") == rule
    again = best_experiment(outcome.sweep, choosing, chosen, costs=outcome.costs)
    assert (again.choose, again.postprocessing) == (choosing.choose, choosing.postprocessing)


def test_the_table_has_a_row_for_every_trial(outcome: Outcome, tmp_path: Path):
    write_result(outcome, tmp_path)
    with open(tmp_path / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == [record.number for record in outcome.records]
    assert [row["state"] for row in rows] == [record.state for record in outcome.records]
    for row, record in zip(rows, outcome.records, strict=True):
        assert row["val_dice_positives"] == (f"{record.values[0]:.6g}" if record.values else "")
        assert ("stops" in row["rungs"]) == (record.state == "pruned")
        assert ("nan" in row["reason"]) == (record.state == "failed")
        assert {name: row[name] for name in record.params} == {name: str(value) for name, value in record.params.items()}
    assert {"complete", "pruned", "failed"} <= {row["state"] for row in rows}


def test_the_summary_counts(outcome: Outcome, tmp_path: Path):
    write_result(outcome, tmp_path)
    told = json.loads((tmp_path / "summary.json").read_text())
    assert sum(told["trials"].values()) == 24
    assert told["best"]["number"] == outcome.best.number
    assert told["best"]["window"] == outcome.best.extra["window"]["swa"]
    assert 0 < told["compute"] < told["compute_without_stops"]
    assert told["pareto"] == []


def test_two_objectives_leave_a_file_for_each_of_the_front(tmp_path: Path):
    outcome = conduct(tmp_path / "sweep", second="latency", pruner=None, trials=10, windows=None)
    write_result(outcome, tmp_path)
    assert outcome.front
    for record in outcome.front:
        assert load_experiment(tmp_path / f"pareto-{record.number:04d}.yaml")
    assert outcome.best in outcome.front
    values = [record.values for record in outcome.front]
    assert not any(a[0] > b[0] and a[1] < b[1] for a in values for b in values)


def test_nothing_finished(tmp_path: Path):
    outcome = conduct(tmp_path / "sweep", finished=False, trials=1)
    assert outcome.best is None
    write_result(outcome, tmp_path)
    assert not (tmp_path / "best.yaml").exists()
    assert json.loads((tmp_path / "summary.json").read_text())["best"] is None
