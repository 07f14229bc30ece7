"""The order of cases: a pure function of seed, stage and epoch, so that a position is all a resumed run needs.

A global batch is a fixed list of micro-batches. Workers share the list out among themselves; the list itself does not
depend on how many there are.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from chestseg.config import Stage
from chestseg.seed import seed_for


@dataclass(frozen=True)
class EpochPlan:
    """Which cases an epoch shows, and where."""

    cases: np.ndarray
    """(steps, micro_batches, images) int64: indices into the prepared dataset."""

    @property
    def steps(self) -> int:
        """Optimiser steps in the epoch."""
        return self.cases.shape[0]


class Sampler:
    """Draws epochs of one stage.

    Positives and negatives are two endless streams of permutations, so a case comes again only after all others of its kind.
    """

    def __init__(self, indices: np.ndarray, positive: np.ndarray, stage: Stage, stage_index: int, seed: int) -> None:
        """Take the training cases (`indices`, with `positive` of the same length) of a stage.

        Raises:
            ValueError: no case, or a share of positives asked of cases that are all of one kind.
        """
        if not len(indices):
            raise ValueError("no training case is left: check data.folds, fold and the preparation's report")
        self.stage, self.stage_index, self.seed = stage, stage_index, seed
        self.pools = {"all": indices, "positive": indices[positive], "negative": indices[~positive]}
        shares = self._shares()
        if shares is not None:
            for kind, wanted in (("positive", max(shares)), ("negative", 1 - min(shares))):
                if wanted and not len(self.pools[kind]):
                    raise ValueError(f"stages.{stage_index}.positives is {stage.positives} but no training case is {kind}")
        self.steps = max(1, (stage.cases_per_epoch or len(indices)) // stage.batch)

    def epoch(self, epoch: int) -> EpochPlan:
        """The plan of one epoch, counted from 0 within the stage."""
        stage = self.stage
        batches = np.empty((self.steps, stage.batch), np.int64)
        counts = [self._positives_before(epoch, step) for step in range(self.steps + 1)]
        for step in range(self.steps):
            drawn = (epoch * self.steps + step) * stage.batch
            if counts[0] is None:
                batches[step] = self._stream("all", drawn, stage.batch)
                continue
            first, last = counts[step], counts[step + 1]
            assert first is not None and last is not None
            positives = self._stream("positive", first, last - first)
            negatives = self._stream("negative", drawn - first, stage.batch - len(positives))
            batches[step] = np.concatenate([positives, negatives])
        # Dealing cards gives each micro-batch its share of positives, for its Dice loss and its batch-norm statistics.
        dealt = batches.reshape(self.steps, stage.images_per_micro_batch, stage.micro_batches).swapaxes(1, 2)
        return EpochPlan(np.ascontiguousarray(dealt))

    def _shares(self) -> list[Fraction] | None:
        """Share of positives of each epoch, exact; a list in the config is spread evenly over the epochs."""
        given, epochs = self.stage.positives, self.stage.epochs
        if given is None:
            return None
        values = [Fraction(str(share)) for share in ((given,) if isinstance(given, (int, float)) else given)]
        return [values[min(len(values) - 1, e * len(values) // epochs)] for e in range(epochs)]

    def _positives_before(self, epoch: int, step: int) -> int | None:
        """Positives drawn in the stage before a step; fractions of a case carry over to the next batch."""
        shares = self._shares()
        if shares is None:
            return None
        last = shares[min(epoch, len(shares) - 1)]
        whole = sum(shares[:epoch]) + last * max(0, epoch - len(shares))
        return math.floor((whole * self.steps + last * step) * self.stage.batch)

    def _stream(self, kind: str, start: int, count: int) -> np.ndarray:
        pool = self.pools[kind]
        taken = []
        while count > 0:
            cycle, offset = divmod(start, len(pool))
            order = np.random.default_rng(seed_for(self.seed, "order", kind, self.stage_index, cycle)).permutation(len(pool))
            part = pool[order[offset : offset + count]]
            taken.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(taken) if taken else pool[:0]
