"""The middle of the best candidates, and what an objective leaves out."""

import numpy as np
import pytest

from chestseg.config.postprocessing import Objective
from chestseg.evaluation.choose_surface import Surface, best, middle


def surface(mean_dice: list[float], specificity: list[float] | None = None, positives: int = 5) -> Surface:
    scores = {"mean_dice": np.array(mean_dice), "dice_positives": np.array(mean_dice)}
    scores["specificity"] = np.array(specificity or [1.0] * len(mean_dice))
    return Surface({"threshold": tuple(range(len(mean_dice)))}, scores, 10, positives)


def test_a_plateau_gives_its_middle() -> None:
    assert best(surface([0.1, 0.7, 0.7, 0.7, 0.7, 0.7, 0.2]), Objective())[0] == (3,)
    assert best(surface([0.7, 0.7, 0.7, 0.7, 0.7, 0.2, 0.1]), Objective())[0] == (2,)
    assert best(surface([0.1, 0.2, 0.9, 0.2, 0.1]), Objective())[0] == (2,)


def test_rounding_does_not_tear_a_plateau() -> None:
    assert best(surface([0.1, 0.7, 0.7 + 1e-14, 0.7, 0.1]), Objective())[0] == (2,)


def test_the_wider_of_two_plateaus() -> None:
    assert best(surface([0.7, 0.1, 0.7, 0.7, 0.7, 0.1]), Objective())[0] == (3,)


def test_farthest_from_every_edge() -> None:
    """A square with a long tail: the centre of mass lies outside the square's middle."""
    plateau = np.zeros((9, 20, 1), bool)
    plateau[1:8, 1:8] = True
    plateau[4, 8:19] = True
    assert middle(plateau) == (4, 4, 0)


def test_axes_on_which_only_one_candidate_is_best_do_not_count() -> None:
    plateau = np.zeros((5, 9, 7), bool)
    plateau[2, 1:6, 0:7] = True
    assert middle(plateau) == (2, 3, 3)


def test_an_angle_of_candidates_gives_one_of_them() -> None:
    plateau = np.zeros((9, 9), bool)
    plateau[1, 1:8] = plateau[1:8, 1] = True
    assert plateau[middle(plateau)]


def test_a_floor_of_specificity() -> None:
    found = surface([0.9, 0.8, 0.7], [0.5, 0.9, 0.95])
    assert best(found, Objective(name="dice_positives", least_specificity=0.9))[0] == (1,)
    assert best(found, Objective(least_specificity=0.95))[0] == (2,)
    with pytest.raises(ValueError, match=r"no rule reaches least_specificity 0\.99, at most 0\.9500: lower it"):
        best(found, Objective(least_specificity=0.99))
    with pytest.raises(ValueError, match="needs cases without disease and there are none"):
        best(surface([0.9, 0.8], positives=10), Objective(least_specificity=0.5))


def test_positives_alone_are_no_objective() -> None:
    with pytest.raises(ValueError, match="give least_specificity"):
        Objective(name="dice_positives")


def test_rules_that_do_not_exist_are_not_best() -> None:
    assert best(surface([np.nan, 0.3, np.nan]), Objective())[0] == (1,)
    with pytest.raises(ValueError, match="give a top_threshold that is not below"):
        best(surface([np.nan, np.nan]), Objective())
