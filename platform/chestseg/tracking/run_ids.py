"""MLflow's ids of a sweep's runs, which our journals know by keys of their own: a run can be spoken of before MLflow has made it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chestseg.tracking.journal import Opening

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY = "chestseg.key"
"""Tag of a run: its key."""
SWEEP = "chestseg.sweep"
"""Tag of a run: key of the sweep it belongs to."""
A_PAGE = 1000
PARAMETERS_A_REQUEST = 100


class RunIds:
    """Ids by key. Every run carries its key as a tag, so one whose id was lost in a kill or an outage is found again, not doubled.

    True while one process writes; after any error make it anew, for a request may have been carried out whose answer never came.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, sweep: str) -> None:
        """Ask for all the runs of the sweep called `sweep`, deleted ones too."""
        self._client, self._experiment_id, self._sweep = client, experiment_id, sweep
        runs = list(_runs(client, experiment_id, sweep))
        self._ids = {run.data.tags[KEY]: run.info.run_id for run in runs}
        self._deleted = {run.data.tags[KEY] for run in runs if run.info.lifecycle_stage != "active"}

    def __contains__(self, key: str) -> bool:
        return key in self._ids

    def is_deleted(self, key: str) -> bool:
        """Whether somebody has deleted the run in MLflow, which then takes nothing more for it."""
        return key in self._deleted

    def of(self, key: str) -> str:
        """MLflow's id of a run.

        Raises:
            MlflowException: it is not made yet.
        """
        from mlflow.exceptions import MlflowException

        if key not in self._ids:
            raise MlflowException(f"no run of {key} yet")
        return self._ids[key]

    def make(self, opening: Opening) -> None:
        """Make the run where it does not exist, and see to it that it has all its parameters."""
        if opening.run not in self._ids:
            self._ids[opening.run] = self._create(opening)
        if not self.is_deleted(opening.run):
            self._log_parameters(self._ids[opening.run], opening.parameters)

    def _create(self, opening: Opening) -> str:
        from mlflow.tracking.context.registry import resolve_tags

        tags = {**opening.tags, KEY: opening.run, SWEEP: self._sweep}
        if opening.parent is not None:
            tags["mlflow.parentRunId"] = self.of(opening.parent)
        known = resolve_tags(tags)  # adds MLflow's own: who runs what, and from where
        return self._client.create_run(self._experiment_id, opening.time, known, opening.name).info.run_id

    def _log_parameters(self, run_id: str, wanted: dict[str, str]) -> None:
        from mlflow.entities import Param

        parameters = [Param(key, value) for key, value in wanted.items()]
        for start in range(0, len(parameters), PARAMETERS_A_REQUEST):
            self._client.log_batch(run_id, params=parameters[start : start + PARAMETERS_A_REQUEST], synchronous=True)


def _runs(client: MlflowClient, experiment_id: str, sweep: str) -> Iterator[Run]:
    from mlflow.entities import ViewType

    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], f"tags.`{SWEEP}` = '{sweep}'", ViewType.ALL, A_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
