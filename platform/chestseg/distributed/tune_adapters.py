"""Ray Tune's search algorithm, scheduler and callback as thin ends of a sweep's driver: they ask and tell it, and keep nothing."""

from pathlib import Path
from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from chestseg.distributed.assignment import TOLD, Assignment, Told


class Driver(Protocol):
    """Whom the adapters ask and tell."""

    trouble: Exception | None
    """What it met while it was told something: Ray Tune would wrap it, so it is raised between two of Tune's steps."""

    def hand_out(self) -> Assignment | None:
        """The next trial to run; None when all have been handed out."""
        ...

    def hear(self, number: int, told: Told) -> bool:
        """A trial said something; whether it goes on."""
        ...

    def tick(self) -> None:
        """Called between two of Ray Tune's steps."""
        ...

    def lose(self, number: int, reason: str) -> None:
        """A trial's process was lost more often than allowed."""
        ...


class Suggestions(Searcher):
    """Gives Ray Tune the driver's trials, one at a time."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver

    def suggest(self, trial_id: str) -> Any:
        """The configuration of one more trial, or that there is none."""
        assignment = self.driver.hand_out()
        return self.FINISHED if assignment is None else {"assignment": assignment}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler told the driver already."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the sweep's journal is the truth, and no Tuner is ever restored."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of the driver goes into Ray Tune's own records."""
        return {}


class Decisions(FIFOScheduler):
    """Passes each report to the driver, and its decision to Ray Tune."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Stop or go on. Ray Tune repeats a trial's last report when its function returns; the driver knows what it has heard."""
        told = result.get(TOLD)
        if told is None or self.driver.trouble:
            return TrialScheduler.CONTINUE
        try:
            goes_on = self.driver.hear(assigned(trial).number, told)
        except (ValueError, OSError) as error:
            self.driver.trouble = error
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def __getstate__(self) -> dict[str, Any]:
        """As of `Suggestions`."""
        return {}


class Events(Callback):
    """Names each trial where Ray shows its tasks, tells the driver of lost ones, and raises what the driver met."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A task of the trial's name in the list that Ray's dashboard shows: the actor is used again and keeps its own name."""
        actor = trial.temporary_state.ray_actor
        assert actor is not None
        actor.execute.options(name=assigned(trial).label).remote(_begin)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The trial will not be tried again."""
        try:
            self.driver.lose(assigned(trial).number, _last_error(trial))
        except (ValueError, OSError) as error:
            self.driver.trouble = error

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Between two steps an exception ends the run as it is."""
        if self.driver.trouble:
            raise self.driver.trouble
        self.driver.tick()

    def __getstate__(self) -> dict[str, Any]:
        """As of `Suggestions`."""
        return {}


def assigned(trial: Trial) -> Assignment:
    """What a trial of Ray Tune was told."""
    return trial.config["assignment"]


def _begin(trainable: Any) -> None:
    """Nothing, under the trial's name."""


def _last_error(trial: Trial) -> str:
    """The last line but empty ones of what Ray Tune wrote of the trial's failures."""
    path = trial.error_file
    lines = [line.strip() for line in Path(path).read_text(errors="replace").splitlines() if line.strip()] if path else []
    return lines[-1] if lines else "its process was lost"
