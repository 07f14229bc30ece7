"""`chestseg tune` refuses in one line what can't be, and nothing is tried."""

from pathlib import Path

import optuna
import pytest
import yaml

from chestseg.cli import main
from chestseg.cli.tune import table
from chestseg.tuning.records import FILE, Asked, TrialRecord, read_journal
from tests.evaluation.prepared import write_prepared
from tests.small_job import small_job, write_job

WITHOUT_DRIVER = "mysql+pymysql://nobody@127.0.0.1:1/none"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_prepared(tmp_path / "prepared")
    base = small_job(
        tmp_path, "tuned", [{"size": 64, "epochs": 1, "batch": 2, "optimiser": {"final_lr": 1e-5}}],
        data={"sizes": [64, 128]}, training={"precision": "fp32", "gpu": "no"}, tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    )  # fmt: skip
    sweep = {
        "name": "refused",
        "base": "tuned.yaml",
        "trials": 4,
        "budget": {"unit": "flops", "per_trial": 1e10},
        "space": {"stages": [1, 2], "sizes": [64, 128], "lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        "storage": str(tmp_path),
    }
    write_job(tmp_path, base)
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return path


def refused(config: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """The one line, after which no trial has been asked for."""
    assert main(["tune", str(config), *(part for override in overrides for part in ("--set", override))]) == 2
    journal = config.parent / "refused" / FILE
    assert not any(isinstance(entry, Asked) for entry in read_journal(journal) if journal.exists())
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("chestseg: error: ")]
    return line


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("space={stages: 1, sizes: 64}", "nothing is left to draw"),
        ("space.stages=3", "3 stages need as many increasing sizes, there are 2"),
        ("metric=val_iou", "metric"),
        ("metric=val_negatives_empty", "nobody would report it, fold 0 has no negative case: set metric: val_dice"),
        ("set=[fold=all]", "fold is `all`"),
        ("set=[data.prepared=nowhere]", "nowhere: no prepared dataset"),
        ("sampler=cmaes", "sampler cmaes needs the same numbers in every trial"),
        ("second=latency", "set pruner: null"),
        ("space.encoder={resnet18: none, mobilenet_v2: nowhere.pt}", "model.weights: nowhere.pt is no file"),
    ],
)
def test_what_the_files_and_the_data_tell_is_refused_without_a_cluster(
    config: Path, override: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "negatives" in override:
        drop_negatives(config.parent / "prepared")
    assert told in refused(config, capsys, override)


def drop_negatives(prepared: Path) -> None:
    """The held-out fold keeps its positives."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(prepared / "manifest.parquet")
    pq.write_table(table.filter(pc.or_(table["positive"], pc.not_equal(table["fold"], 0))), prepared / "manifest.parquet")


def test_a_folder_of_another_sweep_or_over_other_data_is_left_alone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.parent / "refused"
    folder.mkdir()
    (folder / "sweep.json").write_text('{"digest": "0123456789ab", "dataset_hash": "x"}')
    assert "holds a sweep of other settings (digest 0123456789ab" in refused(config, capsys)
    assert "give this sweep another name or storage" in refused(config, capsys, "seed=4")


def test_a_best_model_that_will_not_be_registered_is_told_at_the_start(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for retrain, model, told in (("all", "null", True), ("all", "found", False), ("null", "null", False)):
        changes = f"set=[data.prepared=nowhere, tracking.model={model}]"
        assert main(["tune", str(config), "--set", f"retrain={retrain}", "--set", changes]) == 2
        assert ("tracking.model of the base is null" in capsys.readouterr().err) == told


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("set=['training.cpus_per_worker=8']", "a trial needs 1 x 8 CPU, the cluster has 4 CPU"),
        ("at_once=5", "at_once is 5 and each trial needs 1 x 1 CPU, but the cluster has 4 CPU: lower at_once to 4"),
        ("budget.per_trial=1000", "budget.per_trial is 1e+03: raise it"),
        ("set=['tracking.uri=http://127.0.0.1:1']", "tracking.uri http://127.0.0.1:1: MLflow can't be used there"),
        (f"optuna={WITHOUT_DRIVER}", "give an SQLAlchemy URL whose driver is installed"),
    ],
)
def test_what_the_cluster_and_the_stores_can_not_do_is_refused(
    config: Path, override: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(config, capsys, override)


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_study_of_another_experiment_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = f"sqlite:///{config.parent}/shared.db"
    optuna.create_study(study_name="refused", storage=storage).add_trial(optuna.trial.create_trial(value=1.0))
    assert "the study 'refused' in" in refused(config, capsys, f"optuna={storage}")
    assert not (config.parent / "mlflow.db").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_the_plan_alone_tries_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(config), "--plan"]) == 0
    shown = capsys.readouterr().out
    assert "4 trials, 4 at once, each on 1 worker of 1 CPU" in shown and "1e+10 flops a trial; time at most" in shown
    assert not any(isinstance(entry, Asked) for entry in read_journal(config.parent / "refused" / FILE))


def test_the_table_has_the_best_first_and_says_why_trials_failed() -> None:
    records = [
        TrialRecord(0, {}, {}, 0, "failed", extra={"reason": "no room"}),
        TrialRecord(1, {}, {}, 0, "pruned", values=(0.9,)),
        TrialRecord(2, {}, {}, 0, "complete", values=(0.5,)),
        TrialRecord(3, {}, {}, 0, "complete", values=(0.7,)),
    ]
    head, *rows = table(records, ["val_dice"]).splitlines()
    assert head.split() == ["trial", "state", "reports", "val_dice"]
    assert [row.split()[0] for row in rows] == ["3", "2", "1", "0"] and rows[-1].endswith("no room")
