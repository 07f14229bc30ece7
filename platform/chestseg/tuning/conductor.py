"""A sweep's course: which trial is next, which goes on, which is finished. Every answer is in the journal before it is given."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chestseg.tuning.asha import Rungs
from chestseg.tuning.records import Asked, Entry, Finished, Reported, State, SweepJournal, TrialRecord, take
from chestseg.tuning.sampler import Sampler


@dataclass(frozen=True)
class Trial:
    """A point of the space to try."""

    number: int
    params: dict[str, Any]


class Conductor:
    """Conducts a sweep from one thread of the driver, which may be killed at any time and start again with the same journal.

    A trial at a time, a sweep started again goes the way of one that was never killed. Trials that an earlier start left unfinished are
    handed out again with their numbers and parameters; those that it had already told to stop are not, they are finished here.
    """

    def __init__(self, journal: SweepJournal, sampler: Sampler, rungs: Rungs | None, trials: int) -> None:
        """Go on where the journal ends.

        Args:
            journal: the sweep's.
            sampler: a new one.
            rungs: new ones; None stops no trial early.
            trials: how many there shall be.
        """
        self._journal, self._sampler, self._rungs, self._trials = journal, sampler, rungs, trials
        self._records: dict[int, TrialRecord] = {}
        for entry in journal.entries:
            if isinstance(entry, Asked):
                sampler.repeat(entry.number, entry.params)
            self._take(entry)
        unfinished = [record for record in self._records.values() if record.state == "running"]
        self._again = deque(record for record in unfinished if not record.stopped)
        for record in unfinished:
            if record.stopped:
                self.finish(record.number, "pruned")

    def next(self) -> Trial | None:
        """The next trial to start: one left unfinished by an earlier start, else a new one; None when all have been handed out."""
        if self._again:
            record = self._again.popleft()
            return Trial(record.number, record.params)
        number = len(self._records)
        if number >= self._trials:
            return None
        params, distributions = self._sampler.ask(number)
        self._write(Asked(number, params, distributions))
        return Trial(number, params)

    def report(self, number: int, step: int, compute: float, value: float) -> bool:
        """Whether a trial goes on.

        Args:
            number: the trial's.
            step: of its own, growing.
            compute: what it has used since its start, in the budget's unit.
            value: the metric, or NaN.

        A step that is held already, by a trial that resumed, gets the answer of the first time. A trial that was told to stop, or is
        finished, is told to stop again. Neither counts.
        """
        record = self._records[number]
        for held in record.reports:
            if held.step == step:
                return held.goes_on
        if record.stopped or record.state != "running":
            return False
        goes_on, rung = self._rungs.decide(record.reports, compute, value) if self._rungs else (True, None)
        self._write(Reported(number, step, float(compute), float(value), goes_on, rung))
        return goes_on

    def finish(self, number: int, state: State, values: Sequence[float] = (), extra: dict[str, Any] | None = None) -> None:
        """End a trial; a second end of the same one is dropped.

        A trial that was told to stop is pruned, with its last report as its value, whatever else happened to it: so it is after a kill as
        well. One that is complete without a value, or with NaN, failed.
        """
        record, extra = self._records[number], dict(extra or {})
        assert state != "running"
        if record.state != "running":
            return
        if record.stopped:
            state = "pruned"
        elif state == "complete" and (not values or any(math.isnan(value) for value in values)):
            state, extra = "failed", {"reason": f"the trial ended with {list(values) or 'no value'} of what is optimised", **extra}
        if state == "pruned":
            values = [report.value for report in record.reports[-1:]]
        elif state == "failed":
            values = []
        self._write(Finished(number, state, tuple(map(float, values)), extra))

    def records(self) -> list[TrialRecord]:
        """What is known of every trial, by number; for reading only."""
        return list(self._records.values())

    def _write(self, entry: Entry) -> None:
        self._journal.append(entry)
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        take(self._records, entry)
        if isinstance(entry, Reported) and self._rungs:
            self._rungs.add(entry)
        elif isinstance(entry, Finished):
            self._sampler.tell(self._records[entry.number])
