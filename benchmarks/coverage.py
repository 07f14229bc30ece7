"""How often bootstrap intervals over patients hold the true value, on simulated evaluations; ours beside percentile and studentised ones.

    python -m benchmarks.coverage [--patients 200,50,20] [--rounds 2000] [--resamples 1000]

A patient has one to six cases, alike by a random effect. A third of the cases are positive; of these some are missed (Dice 0) and the
others have a skewed Dice; a tenth of the negatives is given a mask (Dice 0, else 1). Distances have a long tail. The second model does
a little worse, on four cases of five like the first. Rounds in which a score has too few patients for an interval are left out.
Shown: per cent of rounds that held the truth, in brackets the mean width. Asked: 95 +- 1.5 with 200 patients.
"""

import argparse
from collections import defaultdict

import numpy as np
from scipy.stats import norm
from tqdm import tqdm

from chestseg.intervals import RESAMPLES, TAIL, Ratio, Statistic, intervals, mean_of, paired
from chestseg.metrics_image import Auc, brier_score

POPULATION = 300_000
"""Patients by which the true values are told."""
LENGTHS = (0.0, np.inf)
WAYS = ("ours", "percentile", "studentised")


def evaluation(rng: np.random.Generator, patients: int) -> tuple[dict[str, Statistic], np.ndarray]:
    """A simulated evaluation's scores, and the patient of each case."""
    codes = np.repeat(np.arange(patients), np.minimum(1 + rng.poisson(1.0, patients), 6))
    count, patient = codes.size, rng.standard_normal(patients)[codes]
    positive = 0.6 * rng.standard_normal(count) + 0.8 * patient > 0.43
    hard = norm.cdf(0.7 * rng.standard_normal(count) - 0.7 * patient)
    dice, present = model(rng, positive, hard)
    other = np.where(rng.random(count) < 0.8, dice * (1 - 0.1 * rng.random(count)), model(rng, positive, hard)[0])
    probability = 1 / (1 + np.exp(-rng.normal(3 * positive - 2 + (1 - hard), 1)))
    distance = np.exp(2 + 0.7 * rng.standard_normal(count) + 0.5 * patient)
    lesions = rng.poisson(3 * np.exp(0.5 * patient)) * positive
    everyone = np.ones(count, bool)
    mean_dice = mean_of(dice, everyone, "cases")
    return {
        "mean Dice": mean_dice,
        "Dice on positives": mean_of(dice, positive, "positives"),
        "difference of two models' mean Dice": paired(mean_dice, mean_of(other, everyone, "cases")),
        "sensitivity": mean_of(present, positive, "positives"),
        "specificity": mean_of(~present, ~positive, "negatives"),
        "AUC": Auc(probability, positive),
        "Brier score": brier_score(probability, positive),
        "HD95": mean_of(distance, positive & present, "cases with both masks", LENGTHS),
        "lesions found": Ratio(rng.binomial(lesions, 0.2 + 0.7 * (1 - hard)).astype(float), lesions.astype(float), "cases with lesions"),
    }, codes


def model(rng: np.random.Generator, positive: np.ndarray, hard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice of each case, and whether it was given a mask."""
    missed = rng.random(hard.size) < 0.3 * hard
    invented = rng.random(hard.size) < 0.1 + 0.1 * (hard > 0.8)
    dice = np.where(positive, np.where(missed, 0, rng.beta(4, 1 + 1.5 * hard)), ~invented)
    return dice, np.where(positive, ~missed, invented)


def other_ways(score: Statistic, codes: np.ndarray, counts: np.ndarray) -> dict[str, tuple[float, float]]:
    """Percentile and, of means and ratios, studentised limits.

    Args:
        score: of the cases.
        codes: patient of each case.
        counts: (resamples, patients), how often each was drawn.
    """
    draws = score.estimate(counts[:, codes].astype(float))
    there = np.isfinite(draws)
    low, high = np.quantile(draws[there], [TAIL, 1 - TAIL])
    limits = {"percentile": (float(low), float(high))}
    if isinstance(score, Ratio):
        over, under = (np.bincount(codes, values) for values in (score.numerator, score.denominator))
        value, total = over.sum() / under.sum(), counts @ under
        with np.errstate(all="ignore"):
            spread = (
                np.sqrt(np.maximum(counts @ over**2 - 2 * draws * (counts @ (over * under)) + draws**2 * (counts @ under**2), 0)) / total
            )
            ratios = (draws - value) / spread
        least, greatest = np.quantile(ratios[there & (spread > 1e-9)], [TAIL, 1 - TAIL]) if (spread > 1e-9).any() else (0.0, 0.0)
        error = np.sqrt(np.sum((over - value * under) ** 2)) / under.sum()
        limits["studentised"] = tuple(np.clip([value - greatest * error, value - least * error], *score.bounds).tolist())
    return limits


def coverage(truth: dict[str, float], patients: int, rounds: int, resamples: int) -> dict[tuple[str, str], list[tuple[bool, float]]]:
    """For each score and way: whether the interval held the truth, and its width, round by round."""
    found: dict[tuple[str, str], list[tuple[bool, float]]] = defaultdict(list)
    for number in tqdm(range(rounds), desc=f"{patients} patients", leave=False):
        rng = np.random.default_rng([patients, number])
        scores, codes = evaluation(rng, patients)
        counts = rng.multinomial(patients, np.full(patients, 1 / patients), resamples)
        for name, estimate in intervals(scores, [f"{code:06d}" for code in codes], resamples, seed=number).items():
            if estimate.low is None or estimate.high is None:
                continue
            for way, (low, high) in {"ours": (estimate.low, estimate.high), **other_ways(scores[name], codes, counts)}.items():
                found[name, way].append((low <= truth[name] <= high, high - low))
    return found


def main() -> None:
    """Print a table for each number of patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=lambda text: [int(number) for number in text.split(",")], default=[200, 50, 20])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=RESAMPLES // 2)
    options = parser.parse_args()
    population, _ = evaluation(np.random.default_rng(0), POPULATION)
    truth = {name: float(score.estimate(np.ones((1, len(next(iter(score.parts.values()))))))[0]) for name, score in population.items()}
    for patients in options.patients:
        found = coverage(truth, patients, options.rounds, options.resamples)
        print(f"\n| {patients} patients | true value | rounds | {' | '.join(WAYS)} |\n{'| --- ' * (3 + len(WAYS))}|")
        for name, value in truth.items():
            cells = [found.get((name, way), []) for way in WAYS]
            print(f"| {name} | {value:.3g} | {len(cells[0])} | {' | '.join(shown(cell) for cell in cells)} |", flush=True)


def shown(rounds: list[tuple[bool, float]]) -> str:
    """Share of the rounds that held the truth, in per cent, and their mean width."""
    return f"{100 * np.mean([hit for hit, _ in rounds]):.1f} ({np.mean([width for _, width in rounds]):.3g})" if rounds else ""


if __name__ == "__main__":
    main()
