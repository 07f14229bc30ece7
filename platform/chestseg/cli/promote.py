"""`chestseg promote CONFIG`: ask the gate whether the candidate becomes champion."""

from collections.abc import Sequence

from chestseg.config import load_experiment
from chestseg.tracking.promotion import promote

REFUSED = 1


def run(config_path: str, overrides: Sequence[str]) -> int:
    """Print the decision; 0 when the champion alias moved, 1 when a rule refused."""
    experiment = load_experiment(config_path, overrides)
    decision = promote(experiment.tracking)
    print(f"{experiment.tracking.model}: {decision.reason}")
    return 0 if decision.promoted else REFUSED
