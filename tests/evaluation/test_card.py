"""The model card says what a model is for and is not, its scores with intervals, and how to make it again; it names no path."""

from pathlib import Path

from chestseg.evaluation.card import model_card
from chestseg.evaluation.evaluate import EvaluationResult
from chestseg.evaluation.subgroups import CaseFacts
from chestseg.evaluation.summary import summarise_groups
from chestseg.evaluation.volumes import VolumeEvaluation
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore
from tests.inference.tiny import tiny_spec

N = 40


def test_scores_subgroups_and_the_experiment() -> None:
    rows = tuple(
        CaseScore(f"{n}", "a", 100 * (n % 2), 90 * (n % 2), 0.5 + 0.01 * n if n % 2 else 1.0, 0.5, 0.2 + 0.6 * (n % 2)) for n in range(N)
    )
    facts = CaseFacts(tuple(map(str, range(N))), 0, ("AP", "PA") * (N // 2), (None,) * N, (None,) * N)
    table = summarise_groups(EvaluationResult(rows, 64), facts, 200)
    spec = tiny_spec(experiment={"name": "small", "fold": 0, "choose": {"name": "mean_dice"}})
    card = model_card(spec, {"test": table})
    for wanted in (
        "not a medical device", "Held-out fold in training: 0", "chosen on held-out training cases by mean_dice", "| mean Dice | 0.",
        "Predicting nothing has a mean Dice of 0.500.", "| view: PA |", "name: small", "the frozen test split",
    ):  # fmt: skip
        assert wanted in card, wanted
    assert str(Path.cwd()) not in card
    assert "| expected calibration error | 0.200 | - |" in card and "calibration error below says how far off it is" in card


def test_without_held_out_cases_it_says_so() -> None:
    assert "None: no case was held out." in model_card(tiny_spec(), {})
    assert "nobody has measured how far off it is" in model_card(tiny_spec(), {})
    assert "3 networks whose probabilities are averaged" in model_card(tiny_spec().model_copy(update={"members": 3}), {})


def test_of_volumes_the_card_has_bias_and_limits_and_speaks_of_no_probability() -> None:
    rows = tuple(VolumeScore(f"{n}", "a", 100.0, 98.0 + n, n - 2.0, 0.7, 0.5, 11.0, 0.7, 4, 3, 1) for n in range(12))
    table = summarise_groups(VolumeEvaluation(rows), CaseFacts(tuple(map(str, range(12))), 0, *((None,) * 12,) * 3), 200)
    card = model_card(tiny_spec().model_copy(update={"track": "ct"}), {"test": table})
    for wanted in ("| volume error (ml) | 3.5 |", "| lower limit of agreement (ml) | -3.6 |", "| upper limit of agreement (ml) | 10.6 |"):
        assert wanted in card, wanted
    assert "probability" not in card.partition("## Data")[0]
