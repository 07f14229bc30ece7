"""The study in Optuna's storage says what the journal says, after kills and outages too."""

import json
import math
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from chestseg.tuning.mirror import DIGEST, STATES, Mirror
from chestseg.tuning.records import Asked, Entry, Finished, Reported, TrialRecord, read_journal, records_of
from tests.tuning.simulated import Killed, run_to_the_end

NAME, DIGEST_HERE = "sweep", "0123456789ab"
NUMBER = {"name": "FloatDistribution", "attributes": {"step": None, "low": 0.0, "high": 1.0, "log": False}}


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/optuna.db"


def mirror(folder: Path, **changed: Any) -> Mirror:
    return Mirror(**{"url": url_of(folder), "name": NAME, "digest": DIGEST_HERE, "pauses": (0.0, 0.0), **changed})


def bring(folder: Path, records: list[TrialRecord], **changed: Any) -> None:
    mirrored = mirror(folder, **changed)
    try:
        mirrored.bring(records)
    finally:
        mirrored.close()


def asked(number: int) -> Asked:
    return Asked(number, {"x": number / 8}, {"x": NUMBER})


EVERY_STATE: list[Entry] = [
    asked(0),
    asked(1),
    Reported(0, 10, 1.0, 0.5, True, 0),
    Reported(1, 25, 1.25, math.nan, False, 0),
    Finished(1, "pruned", (math.nan,)),
    asked(2),
    Reported(0, 20, 2.0, 0.625, True, None),
    Reported(2, 7, 1.5, 0.25, False, 0),
    Finished(0, "complete", (0.75,), {"window": {"start": 3, "score": math.nan}}),
    asked(3),
    Finished(3, "failed", extra={"reason": "out of memory"}),
    Finished(2, "pruned", (0.25,)),
    asked(4),
    Reported(4, 3, 0.5, math.inf, True, None),
]


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(url_of(folder))
    try:
        return optuna.load_study(study_name=NAME, storage=storage).get_trials()
    finally:
        storage.remove_session()
        storage.engine.dispose()


def assert_shows(folder: Path, records: list[TrialRecord]) -> None:
    trials = trials_of(folder)
    assert [trial.number for trial in trials] == [record.number for record in records]
    for trial, record in zip(trials, records, strict=True):
        assert trial.state is STATES[record.state]
        assert trial.params == record.params
        assert str(trial.intermediate_values) == str({report.step: report.value for report in record.reports})
        expected = None if any(map(math.isnan, record.values)) else list(record.values) or None
        assert trial.values == expected


def test_shows_every_state(tmp_path: Path) -> None:
    records = records_of(EVERY_STATE)
    bring(tmp_path, records)
    assert_shows(tmp_path, records)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    trials = trials_of(tmp_path)
    assert [trial.state for trial in trials] == states
    assert trials[0].user_attrs == {"window": {"start": 3, "score": "NaN"}}
    assert trials[3].user_attrs == {"reason": "out of memory"}
    assert trials[0].datetime_start and trials[0].datetime_start.timestamp() * 1000 == pytest.approx(records[0].asked, abs=1)


def test_follows_a_sweep_entry_by_entry(tmp_path: Path) -> None:
    mirrored = mirror(tmp_path)
    for count in range(len(EVERY_STATE) + 1):
        records = records_of(EVERY_STATE[:count])
        mirrored.bring(records)
        assert_shows(tmp_path, records)
    mirrored.close()


def test_a_real_sweep_shows_the_same_whatever_was_mirrored_before(tmp_path: Path) -> None:
    records, _ = run_to_the_end(tmp_path, "tpe", seed=1, at_once=3)
    entries = read_journal(tmp_path / "journal.jsonl")
    for count in range(0, len(entries), 9):
        bring(tmp_path, records_of(entries[:count]))
    bring(tmp_path, records)
    assert_shows(tmp_path, records)
    assert {trial.state for trial in trials_of(tmp_path)} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


@contextmanager
def killed_at(statement: int) -> Iterator[None]:
    """Kill the process at the n-th statement that the database is sent."""
    left = iter(range(statement))

    def count(*_: object) -> None:
        if next(left, None) is None:
            raise Killed

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def test_killed_while_it_writes_it_goes_on(tmp_path: Path) -> None:
    draw, kills = random.Random(4), 0
    for count in range(len(EVERY_STATE) + 1):
        records = records_of(EVERY_STATE[:count])
        moment = draw.randrange(4)
        while True:
            try:
                with killed_at(moment):
                    bring(tmp_path, records)
            except Killed:
                kills += 1
                moment += draw.randint(5, 15)
            else:
                break
        assert_shows(tmp_path, records)
    assert kills > 30


def test_refuses_a_study_of_another_sweep(tmp_path: Path) -> None:
    records = records_of(EVERY_STATE)
    bring(tmp_path, records)
    with pytest.raises(
        ValueError, match="'sweep'.*another experiment: choose another name, or delete the study with optuna delete-study"
    ) as caught:
        bring(tmp_path, records, digest="ba9876543210")
    assert "\n" not in str(caught.value)
    bring(tmp_path, records, name="other", digest="ba9876543210")
    assert_shows(tmp_path, records)


def test_refuses_a_study_with_trials_that_nobody_here_made(tmp_path: Path) -> None:
    optuna.create_study(storage=url_of(tmp_path), study_name=NAME).add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ValueError, match="another experiment"):
        bring(tmp_path, [])


@pytest.mark.parametrize("entries", [[], EVERY_STATE[:7], [Asked(0, {"x": 0.9}, {"x": NUMBER}), *EVERY_STATE[1:]]])
def test_refuses_a_study_that_is_ahead_of_the_journal(tmp_path: Path, entries: list[Entry]) -> None:
    bring(tmp_path, records_of(EVERY_STATE))
    with pytest.raises(ValueError, match="holds trials that this sweep's journal does not know"):
        bring(tmp_path, records_of(entries))


def test_takes_up_a_study_that_a_kill_left_without_its_digest(tmp_path: Path) -> None:
    optuna.create_study(storage=url_of(tmp_path), study_name=NAME, direction="maximize")
    bring(tmp_path, records_of(EVERY_STATE))
    assert optuna.load_study(study_name=NAME, storage=url_of(tmp_path)).user_attrs == {DIGEST: DIGEST_HERE}


def test_away_is_one_line_and_nothing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, records = tmp_path / "away", records_of(EVERY_STATE)
    mirrored = mirror(folder)
    with pytest.raises(ValueError, match="unable to open database file: nothing is lost, the same command goes on") as caught:
        mirrored.bring(records)
    assert "\n" not in str(caught.value)
    assert [record.message.count("trying again") for record in caplog.records] == [1, 1]
    folder.mkdir()
    mirrored.bring(records)
    mirrored.close()
    assert_shows(folder, records)


def test_locked_by_somebody_else(tmp_path: Path) -> None:
    records = records_of(EVERY_STATE)
    bring(tmp_path, records[:1])
    mirrored = mirror(tmp_path, url=f"{url_of(tmp_path)}?timeout=0.01")
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ValueError, match="database is locked: nothing is lost"):
            mirrored.bring(records)
    mirrored.bring(records)
    mirrored.close()
    assert_shows(tmp_path, records)


def test_away_in_the_middle_of_a_sweep(tmp_path: Path) -> None:
    mirrored = mirror(tmp_path, pauses=())
    mirrored.bring(records_of(EVERY_STATE[:6]))
    broken = sqlite_that_refuses_writes()
    with broken, pytest.raises(ValueError, match="disk I/O error: nothing is lost"):
        mirrored.bring(records_of(EVERY_STATE[:9]))
    mirrored.bring(records_of(EVERY_STATE))
    mirrored.close()
    assert_shows(tmp_path, records_of(EVERY_STATE))


@contextmanager
def sqlite_that_refuses_writes() -> Iterator[None]:
    def refuse(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            raise OperationalError(statement, None, OSError("disk I/O error"))

    event.listen(Engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", refuse)


@pytest.mark.parametrize("url", ["nonsense", "unheardof://here/there", "mysql+pymysql://someone:secret@127.0.0.1:1/sweeps"])
def test_refuses_a_url_that_no_driver_takes(url: str) -> None:
    with pytest.raises(ValueError, match="^optuna: .*: give an SQLAlchemy URL whose driver is installed$") as caught:
        Mirror(url, NAME, DIGEST_HERE)
    assert "secret" not in str(caught.value)


def test_two_objectives(tmp_path: Path) -> None:
    entries = [asked(0), Reported(0, 1, 1.0, 0.5, True, None), Finished(0, "complete", (0.5, 3e9)), asked(1)]
    bring(tmp_path, records_of(entries), directions=("maximize", "minimize"))
    study = optuna.load_study(study_name=NAME, storage=url_of(tmp_path))
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.best_trials[0].values == [0.5, 3e9]


def test_describes_trials_at_their_start_and_end(tmp_path: Path) -> None:
    def describe(record: TrialRecord) -> dict[str, Any]:
        return {"schedule": f"x {record.params['x']}", **record.extra}

    (record,) = records_of([asked(0)])
    bring(tmp_path, [record], describe=describe)
    assert trials_of(tmp_path)[0].user_attrs == {"schedule": "x 0.0"}
    finished = replace(record, state="complete", values=(0.5,), extra={"window": [1, 2]}, finished=record.asked)
    bring(tmp_path, [finished], describe=describe)
    assert json.dumps(trials_of(tmp_path)[0].user_attrs) == json.dumps({"schedule": "x 0.0", "window": [1, 2]})
