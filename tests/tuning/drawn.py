"""What parameters of a hand-made trial were drawn from, as the journal tells it."""

import json
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, distribution_to_json

SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-4, 1e-2, log=True),
    "other": FloatDistribution(0.0, 1.0),
    "share": FloatDistribution(0.2, 0.8),
    "stages": CategoricalDistribution((1, 2)),
    "fixed": CategoricalDistribution(("a",)),
}


def told(params: dict[str, Any]) -> dict[str, Any]:
    return {name: json.loads(distribution_to_json(SPACE[name])) for name in params}
