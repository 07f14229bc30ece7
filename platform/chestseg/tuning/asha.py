"""Asynchronous successive halving at equal compute: who stops early.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning (MLSys 2020), in the form that stops trials and never goes back
to a stopped one.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from chestseg.tuning.records import Direction, Reported

ROUNDING = 1e-9
"""Part of a rung's compute by which rounding may miss it."""


class Rungs:
    """Amounts of compute at which a trial goes on only as one of the best of those that came there before it, and itself.

    A trial counts at a rung with its first report at or past the rung's compute. A report past several new rungs counts at the highest
    alone, whose compute is nearest: at a lower one it would be compared with less trained trials.

    Decisions depend on the order of the reports alone.
    """

    def __init__(self, marks: Sequence[float], reduction: int, direction: Direction = "maximize") -> None:
        """Start with empty rungs.

        Args:
            marks: compute of each rung, ascending, in the unit that trials report in.
            reduction: one of so many goes on, 2 or more.
            direction: of the metric.
        """
        assert list(marks) == sorted(set(marks)) and reduction > 1
        self.marks, self.reduction = tuple(marks), reduction
        self._sign = 1.0 if direction == "maximize" else -1.0
        self._scores: list[list[float]] = [[] for _ in marks]

    def decide(self, earlier: Iterable[Reported], compute: float, value: float) -> tuple[bool, int | None]:
        """Whether a trial with these earlier reports goes on, and the rung where that was decided, None between rungs.

        Equals of the last one that goes on go on too: nothing says which of them is better. NaN never goes on at a rung.
        """
        rung = bisect_right(self.marks, compute * (1 + ROUNDING)) - 1
        if rung <= max((report.rung for report in earlier if report.rung is not None), default=-1):
            return True, None
        scores = sorted([*self._scores[rung], self._score(value)], reverse=True)
        last = scores[max(1, len(scores) // self.reduction) - 1]
        return not math.isnan(value) and self._score(value) >= last, rung

    def add(self, report: Reported) -> None:
        """Count a report, with the rung that `decide` said."""
        if report.rung is not None:
            self._scores[report.rung].append(self._score(report.value))

    def _score(self, value: float) -> float:
        return -math.inf if math.isnan(value) else self._sign * value
