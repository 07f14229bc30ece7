"""Optuna's storage, brought to what the journal says, for `optuna-dashboard` and whoever reads studies. Nothing is read from it."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from chestseg.tuning.records import Direction, State, TrialRecord

STATES: dict[State, TrialState] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
DIGEST = "digest"
"""User attribute of the study: the sweep it belongs to."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)

LOG = logging.getLogger(__name__)


class Mirror:
    """A study of a sweep, with the journal's trial numbers, states, reports and values. Kills and outages leave it behind, never wrong."""

    def __init__(
        self,
        url: str,
        name: str,
        digest: str,
        directions: Sequence[Direction] = ("maximize",),
        describe: Callable[[TrialRecord], dict[str, Any]] = lambda record: record.extra,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Remember what to mirror where; the storage is first asked by `bring`.

        Args:
            url: of the storage, as SQLAlchemy writes it.
            name: of the study.
            digest: the sweep's.
            directions: of the objectives.
            describe: user attributes of a trial; asked at its start and at its end.
            pauses: seconds before each new try when the storage is away.

        Raises:
            ValueError: the URL is none, or its database's driver is not installed.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._url, self._name, self._digest = url, name, digest
        self._directions = [StudyDirection[direction.upper()] for direction in directions]
        self._describe, self._pauses = describe, tuple(pauses)
        self._address = _address(url)
        self._storage: RDBStorage | None = None
        self._study = -1
        self._held: dict[int, FrozenTrial] = {}

    def bring(self, records: Iterable[TrialRecord]) -> None:
        """Bring the study to the records; what it has already is left alone.

        Raises:
            ValueError: the study is of another sweep, or the storage stayed away through all pauses.
        """
        records = list(records)
        for pause in (*self._pauses, None):
            try:
                self._bring(records)
                return
            except (SQLAlchemyError, StorageInternalError) as error:
                self.close()
                if pause is None:
                    raise ValueError(
                        f"optuna: {self._address}: {_reason(error)}: nothing is lost, the same command goes on when it can be written again"
                    ) from None
                LOG.warning("Optuna's storage %s: %s; trying again in %g s", self._address, _reason(error), pause)
                time.sleep(pause)

    def close(self) -> None:
        """Let go of the database."""
        if self._storage:
            self._storage.remove_session()
            self._storage.engine.dispose()
        self._storage = None

    def _bring(self, records: list[TrialRecord]) -> None:
        storage = self._storage or self._open(records)
        for record in records:
            held = self._held.get(record.number)
            if held is None:
                trial_id = storage.create_new_trial(self._study, self._frozen(record))
                self._held[record.number] = self._frozen(record, trial_id)
            elif not held.state.is_finished():
                self._update(storage, held, record)
                self._held[record.number] = self._frozen(record, held._trial_id)

    def _open(self, records: list[TrialRecord]) -> RDBStorage:
        storage = self._storage = RDBStorage(self._url)
        try:
            self._study = storage.create_new_study(self._directions, self._name)
        except DuplicatedStudyError:
            self._study = storage.get_study_id_from_name(self._name)
        trials = storage.get_all_trials(self._study, deepcopy=False)
        digest = storage.get_study_user_attrs(self._study).get(DIGEST)
        if digest is None and not trials:  # new, also where a kill came between the two writes
            storage.set_study_user_attr(self._study, DIGEST, self._digest)
        elif digest != self._digest:
            self._refuse("belongs to another experiment")
        elif not _follows(trials, records):
            self._refuse("holds trials that this sweep's journal does not know")
        self._held = {trial.number: trial for trial in trials}
        return storage

    def _refuse(self, why: str) -> None:
        self.close()
        raise ValueError(
            f"optuna: the study {self._name!r} in {self._address} {why}: choose another name, or delete the study with "
            f"optuna delete-study --study-name {self._name} --storage {self._address}"
        )

    def _update(self, storage: RDBStorage, held: FrozenTrial, record: TrialRecord) -> None:
        """Everything else before the state: a finished trial can't be changed."""
        for report in record.reports:
            if report.step not in held.intermediate_values:
                storage.set_trial_intermediate_value(held._trial_id, report.step, report.value)
        if record.state != "running":
            for key, value in self._attributes(record).items():
                storage.set_trial_user_attr(held._trial_id, key, value)
            storage.set_trial_state_values(held._trial_id, STATES[record.state], _values(record))

    def _frozen(self, record: TrialRecord, trial_id: int = -1) -> FrozenTrial:
        return FrozenTrial(
            number=record.number,
            trial_id=trial_id,
            state=STATES[record.state],
            value=None,
            values=_values(record),
            datetime_start=datetime.fromtimestamp(record.asked / 1000),
            datetime_complete=datetime.fromtimestamp(record.finished / 1000) if record.finished else None,
            params=record.params,
            distributions={name: json_to_distribution(json.dumps(d)) for name, d in record.distributions.items()},
            user_attrs=self._attributes(record),
            system_attrs={},
            intermediate_values={report.step: report.value for report in record.reports},
        )

    def _attributes(self, record: TrialRecord) -> dict[str, Any]:
        """JSON as browsers read it, which knows no NaN."""
        return json.loads(json.dumps(self._describe(record)), parse_constant=str)


def _address(url: str) -> str:
    """The URL for people to read: without a password."""
    address = url
    try:
        address = make_url(url).render_as_string(hide_password=True)
        make_url(url).get_dialect().import_dbapi()
    except (ArgumentError, ImportError) as error:
        raise ValueError(f"optuna: {address}: {_reason(error)}: give an SQLAlchemy URL whose driver is installed") from None
    return address


def _follows(trials: list[FrozenTrial], records: list[TrialRecord]) -> bool:
    """Whether a study's trials are an earlier state of the records."""
    known = {record.number: record for record in records}
    return all(
        trial.number in known
        and (trial.state is TrialState.RUNNING or trial.state is STATES[known[trial.number].state])
        and trial.intermediate_values.keys() <= {report.step for report in known[trial.number].reports}
        and _same(trial.params, known[trial.number].params)
        for trial in trials
    )


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether parameters are equal, up to what a database rounds."""
    return ours.keys() == theirs.keys() and all(
        math.isclose(value, theirs[name], rel_tol=1e-6) if isinstance(value, float) else value == theirs[name]
        for name, value in ours.items()
    )


def _values(record: TrialRecord) -> list[float] | None:
    """Optuna has no word for a trial whose value is NaN; it goes without one."""
    return None if not record.values or any(map(math.isnan, record.values)) else list(record.values)


def _reason(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return str(cause).strip().splitlines()[0]
