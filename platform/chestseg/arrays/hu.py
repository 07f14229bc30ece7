"""Whether values can be Hounsfield units, and turning grey levels of a known window into them: one rule for all that is read."""

from dataclasses import dataclass

import numpy as np

AIR_BELOW = -200
"""HU: air and lungs lie far below, so no CT of a chest has all its values above."""
SLACK = 0.01
"""Values may go so far beyond their window, as a share of it: interpolation overshoots."""


def require_hu(values: np.ndarray) -> None:
    """Refuse a chest's values that cannot be HU.

    Raises:
        ValueError: what they are, without the file's name and a remedy.
    """
    low = float(values.min())
    if low > AIR_BELOW:
        raise ValueError(f"values from {low:g} to {values.max():g} are not HU, which for air are near -1000")


@dataclass(frozen=True)
class Greys:
    """Values that are not HU, and what they stand for."""

    ends: tuple[float, float]
    """The lowest and highest value."""
    onto: tuple[float, float]
    """Their HU."""
    called: str = "the source's `window`"
    """Where the user said so, in errors."""

    def to_hu(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape as float32 HU.

        Raises:
            ValueError: values beyond the ends; without the file's name.
        """
        (low, high), (lowest, highest) = self.ends, (float(values.min()), float(values.max()))
        assert low < high, self.ends
        slack = (high - low) * SLACK
        if lowest < low - slack or highest > high + slack:
            raise ValueError(
                f"values from {lowest:g} to {highest:g} go beyond {self.called} {list(self.ends)}: correct it, "
                "or leave it out if they are HU"
            )
        hu = values.astype(np.float32)
        hu -= low
        hu *= (self.onto[1] - self.onto[0]) / (high - low)
        hu += self.onto[0]
        return hu

    @property
    def note(self) -> str:
        """What was done, in a line."""
        return f"values {self.ends[0]:g} to {self.ends[1]:g} taken as {self.onto[0]:g} to {self.onto[1]:g} HU"
