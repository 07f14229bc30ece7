"""What cases in memory share with a prepared dataset: choosing them by fold."""

import numpy as np


class FoldsInMemory:
    """All cases are of the training split."""

    fold: np.ndarray

    def indices(self, split: str = "train", fold: int | None = None, exclude_fold: int | None = None) -> np.ndarray:
        keep = np.ones(len(self.fold), bool)
        if fold is not None:
            keep &= self.fold == fold
        if exclude_fold is not None:
            keep &= self.fold != exclude_fold
        return np.flatnonzero(keep)
