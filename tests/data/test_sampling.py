"""The order of cases is a pure function of the position, and positives come in the share asked for."""

import numpy as np
import pytest

from chestseg.config import RadiographStage
from chestseg.data.sampling import Sampler

CASES = np.arange(100, 140)
POSITIVE = np.arange(40) < 10


def sampler(**stage: object) -> Sampler:
    return Sampler(
        CASES, POSITIVE, RadiographStage.model_validate({"size": 32, "epochs": 4, "batch": 8, "micro_batch": 4, **stage}), 0, seed=1
    )


def is_positive(cases: np.ndarray) -> np.ndarray:
    return cases < 110


def test_an_epoch_shows_every_case_once_when_no_share_is_asked() -> None:
    cases = sampler().epoch(2).cases
    assert cases.shape == (5, 2, 4)
    assert sorted(cases.ravel()) == list(CASES)


def test_epochs_differ_and_repeat_exactly() -> None:
    np.testing.assert_array_equal(sampler().epoch(3).cases, sampler().epoch(3).cases)
    assert (sampler().epoch(0).cases != sampler().epoch(1).cases).any()


def test_the_share_of_positives_follows_its_schedule() -> None:
    drawn = sampler(positives=[0.75, 0.25])
    shares = [is_positive(drawn.epoch(e).cases).mean() for e in range(4)]
    assert shares == pytest.approx([0.75, 0.75, 0.25, 0.25])


def test_fractions_of_a_case_carry_over_to_the_next_batch() -> None:
    per_batch = is_positive(sampler(positives=0.3).epoch(0).cases).sum((1, 2))
    assert set(per_batch) <= {2, 3} and per_batch.sum() == 12


def test_micro_batches_share_positives_evenly() -> None:
    per_micro = is_positive(sampler(positives=0.5).epoch(0).cases).sum(2)
    assert (per_micro == 2).all()


def test_no_positive_comes_again_before_all_have_come() -> None:
    drawn = sampler(positives=0.5)
    stream = np.concatenate([drawn.epoch(e).cases.ravel() for e in range(2)])
    positives = stream[is_positive(stream)]
    assert len(positives) == 40
    counts = np.unique(positives, return_counts=True)[1]
    assert (counts == 4).all()


@pytest.mark.parametrize(("positive", "share", "missing"), [(np.zeros(40, bool), 0.5, "positive"), (np.ones(40, bool), 0.5, "negative")])
def test_a_share_that_no_case_can_give_is_refused(positive: np.ndarray, share: float, missing: str) -> None:
    stage = RadiographStage(size=32, epochs=1, positives=share)
    with pytest.raises(ValueError, match=f"no training case is {missing}"):
        Sampler(CASES, positive, stage, 0, seed=1)


def test_no_schedule_of_shares_asks_for_more_positives_than_a_batch_has() -> None:
    stage = RadiographStage(size=32, epochs=35, batch=2, cases_per_epoch=50, positives=(0.19, 1.0, 0.32, 0.7))
    drawn = Sampler(CASES, POSITIVE, stage, 0, seed=1)
    shares = [is_positive(drawn.epoch(e).cases).mean() for e in range(35)]
    assert np.mean(shares) == pytest.approx(np.mean([(0.19, 1.0, 0.32, 0.7)[e * 4 // 35] for e in range(35)]), abs=0.01)
