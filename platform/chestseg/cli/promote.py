"""`chestseg promote CONFIG`: ask the gate whether the candidate becomes champion, or take the last promotion back."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from chestseg.config import load_experiment
from chestseg.data.prepared import PreparedDataset
from chestseg.evaluation.gate import Judgement
from chestseg.tracking.promotion import promote, roll_back
from chestseg.tracking.turns import lock_of, scope_of, turn

REFUSED = 1


def run(config_path: str, overrides: Sequence[str] = (), rollback: bool = False) -> int:
    """Print the decision; 0 when the champion alias moved, 1 when a rule refused.

    Args:
        config_path: the experiment's YAML, whose `gate` is the rule.
        overrides: `key=value` pairs on top of it.
        rollback: make the champion before this one champion again.

    Raises:
        ValueError: the config, the data or MLflow don't allow it.
    """
    experiment = load_experiment(config_path, overrides)
    tracking, lock = experiment.tracking, lock_of(experiment)
    facts = {"lock_scope": scope_of(lock)}

    def my_turn() -> AbstractContextManager[None]:
        return turn(lock, tracking.model or "")

    if rollback:
        decision = roll_back(tracking, my_turn, facts)
    else:
        dataset = PreparedDataset.open(experiment.data.prepared)
        dataset.require_split(experiment.data)
        judgement = Judgement(experiment, dataset, progress=True)
        if judgement.beyond_proof:
            print(f"chestseg: note: {judgement.beyond_proof}", file=sys.stderr)
        decision = promote(tracking, judgement, my_turn, facts)
    print(f"{tracking.model}: {decision.reason}")
    return 0 if decision.promoted else REFUSED
