"""Epochs from shares: the budget is kept, the shares are met, what is least is given."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chestseg.tuning.compute import epochs_of, total_compute
from chestseg.tuning.schedule import fill
from tests.tuning.spaces import small_base
from tests.tuning.test_compute import simple_costs

BASE = small_base()


def filled(shares: list[float], least: list[int], budget: float, validations: int | None) -> tuple[list[dict[str, int]], float]:
    fields = fill(BASE, shares, least, budget, validations, simple_costs(BASE))
    stages = tuple(stage.model_copy(update=changes) for stage, changes in zip(BASE.stages, fields, strict=True))
    return fields, total_compute(BASE.model_copy(update={"stages": stages}), simple_costs(BASE), 4)


def test_shares_become_epochs() -> None:
    # An epoch costs 8 and 80, a validation 0.4 and 4. Half the budget is 62 epochs and 5; the rest is another 10 of the first stage.
    fields, total = filled([0.5, 0.5], [1, 1], 1000, 10)
    assert fields == [{"epochs": 72, "validate_every": 12}, {"epochs": 5, "validate_every": 1}]
    assert total == pytest.approx(72 * 8 + 6 * 0.4 + 5 * 84)


def test_what_is_left_goes_to_the_last_stage_then_to_the_others() -> None:
    fields, total = filled([0.2, 0.8], [1, 1], 1000, None)
    assert fields == [{"epochs": 29, "validate_every": 1}, {"epochs": 9, "validate_every": 1}]
    assert 1000 - total < 8.4


def test_the_least_is_given_whatever_the_share() -> None:
    fields, _ = filled([0.99, 0.01], [1, 6], 1000, None)
    assert fields[1]["epochs"] == 6 and fields[0]["epochs"] == 59
    fields, _ = filled([0.01, 0.99], [50, 1], 1000, None)
    assert [stage["epochs"] for stage in fields] == [59, 6]


def test_a_budget_below_the_least_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"fewest epochs \(2 at 32 px, 3 at 64 px\) costs 269 flops, budget.per_trial is 200: raise it"):
        filled([0.5, 0.5], [2, 3], 200, None)


@settings(deadline=None)
@given(
    share=st.floats(0.01, 0.99),
    least=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    budget=st.floats(500, 1e6),
    validations=st.none() | st.integers(1, 100),
)
def test_nothing_that_another_epoch_would_fit_into_is_left(
    share: float, least: tuple[int, int], budget: float, validations: int | None
) -> None:
    fields, total = filled([1 - share, share], list(least), budget, validations)
    assert total <= budget * (1 + 1e-8)
    assert budget - total < 8 + 0.4, "less than an epoch of the cheapest stage with a validation"
    assert all(stage["epochs"] >= n for stage, n in zip(fields, least, strict=True))
    if validations:
        parts = [epochs_of(BASE, stage, simple_costs(BASE), 4) for stage in BASE.stages]
        for part, stage in zip(parts, fields, strict=True):
            every = stage["validate_every"]
            assert every == 1 or every * part.training + part.validation <= budget / validations * (1 + 1e-9)
