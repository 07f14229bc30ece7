"""Our scores beside those of the libraries of the field, on 1,000 random cases, and what each makes of empty masks.

    python -m benchmarks.metric_libraries [--cases 1000]

MedPy is under the GPL and no dependency, not even for development: install it into an environment of its own to see its lines.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from monai import metrics as monai
from scipy.ndimage import gaussian_filter
from sklearn import metrics as sklearn
from torchmetrics.functional import classification, segmentation
from tqdm import tqdm

from chestseg.config import Spacing
from chestseg.metrics import dice, iou
from chestseg.metrics_image import BINS, Auc, brier_score, expected_calibration_error, reliability_curve
from chestseg.metrics_volume import TOLERANCE_MM, compare_surfaces

SHAPE = (10, 28, 30)
SPACING: Spacing = (5.0, 1.2, 1.1)
EMPTY_SHARE = 0.1
IMAGES = 80
Score = Callable[[np.ndarray, np.ndarray], Any]
Table = dict[str, tuple[Score, dict[str, Score]]]
"""By metric: our score of a prediction and a truth, and the others' by name."""


def masks(cases: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Predictions and truths (D, H, W) bool: blobs that overlap in part; some are empty."""
    rng = np.random.default_rng(0)
    for _ in range(cases):
        shared, *apart = gaussian_filter(rng.standard_normal((3, *SHAPE)), (0, 0.8, 3, 3))
        pair = [shared + rng.uniform(0.2, 1) * own for own in apart]
        yield tuple(np.zeros(SHAPE, bool) if rng.random() < EMPTY_SHARE else own > np.quantile(own, rng.uniform(0.8, 0.99)) for own in pair)


def images(cases: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sets of probabilities (n,) and whether each image is positive, (n,) bool; half of the sets are rounded to hundredths."""
    rng = np.random.default_rng(1)
    for number in range(cases):
        positive = np.arange(IMAGES) < rng.integers(1, IMAGES)
        probability = np.clip(rng.normal(0.3 + 0.3 * positive, 0.25), 0, 1)
        yield (np.round(probability, 2) if number % 2 else probability), positive


def classes(mask: np.ndarray) -> torch.Tensor:
    """Background and foreground (1, 2, D, H, W), as MONAI takes them."""
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


def whole(mask: np.ndarray) -> torch.Tensor:
    """One class (1, 1, D, H, W) of 0 and 1, as torchmetrics takes it."""
    return torch.from_numpy(mask[None, None].astype(np.int64))


def distances(prediction: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """As of surface-distance."""
    import surface_distance

    return surface_distance.compute_surface_distances(truth, prediction, SPACING)


def surface_scores() -> dict[str, dict[str, Score]]:
    """HD95 and NSD of other libraries."""
    from surface_distance import compute_robust_hausdorff, compute_surface_dice_at_tolerance

    hausdorff, tolerance = monai.compute_hausdorff_distance, [TOLERANCE_MM]
    return {
        "HD95": {
            "surface-distance `compute_robust_hausdorff`": lambda p, t: compute_robust_hausdorff(distances(p, t), 95),
            "MONAI `compute_hausdorff_distance`": lambda p, t: hausdorff(classes(p), classes(t), percentile=95, spacing=SPACING),
        },
        "NSD": {
            "surface-distance `compute_surface_dice_at_tolerance`": lambda p, t: compute_surface_dice_at_tolerance(
                distances(p, t), TOLERANCE_MM
            ),
            "MONAI `compute_surface_dice(use_subvoxels=True)`": lambda p, t: monai.compute_surface_dice(
                classes(p), classes(t), tolerance, spacing=SPACING, use_subvoxels=True
            ),
            "MONAI `compute_surface_dice`, its default": lambda p, t: monai.compute_surface_dice(
                classes(p), classes(t), tolerance, spacing=SPACING
            ),
        },
    }


def of_masks() -> Table:
    """Scores of masks."""
    surfaces = surface_scores()
    table: Table = {
        "Dice": (
            dice,
            {
                "scikit-learn `f1_score(zero_division=1)`": lambda p, t: sklearn.f1_score(t.ravel(), p.ravel(), zero_division=1),
                "scikit-learn `f1_score`, its default": lambda p, t: sklearn.f1_score(t.ravel(), p.ravel()),
                "torchmetrics `dice_score`": lambda p, t: segmentation.dice_score(whole(p), whole(t), 1, average="none"),
                "torchmetrics `binary_f1_score`": lambda p, t: classification.binary_f1_score(whole(p), whole(t)),
                "MONAI `compute_dice`": lambda p, t: monai.compute_dice(classes(p)[:, 1:], classes(t)[:, 1:]),
            },
        ),
        "IoU": (
            iou,
            {
                "scikit-learn `jaccard_score(zero_division=1)`": lambda p, t: sklearn.jaccard_score(t.ravel(), p.ravel(), zero_division=1),
                "torchmetrics `binary_jaccard_index`": lambda p, t: classification.binary_jaccard_index(whole(p), whole(t)),
                "MONAI `compute_iou`": lambda p, t: monai.compute_iou(classes(p)[:, 1:], classes(t)[:, 1:]),
            },
        ),
        "HD95": (lambda p, t: compare_surfaces(p, t, SPACING)[0], surfaces["HD95"]),
        f"NSD at {TOLERANCE_MM:g} mm": (lambda p, t: compare_surfaces(p, t, SPACING)[1], surfaces["NSD"]),
    }
    if find_spec("medpy"):
        from medpy.metric import binary

        table["Dice"][1]["MedPy `dc`"], table["IoU"][1]["MedPy `jc`"] = binary.dc, binary.jc
        table["HD95"][1]["MedPy `hd95`"] = lambda p, t: binary.hd95(p, t, SPACING)
    return table


def of_images() -> Table:
    """Scores of sets of images."""
    both: Callable[[np.ndarray, np.ndarray], tuple[torch.Tensor, torch.Tensor]]
    both = lambda p, t: (torch.from_numpy(p), torch.from_numpy(t).long())  # noqa: E731
    one = np.ones((1, IMAGES))
    return {
        "AUC": (
            lambda p, t: Auc(p, t).estimate(one)[0],
            {
                "scikit-learn `roc_auc_score`": lambda p, t: sklearn.roc_auc_score(t, p),
                "torchmetrics `binary_auroc`": lambda p, t: classification.binary_auroc(*both(p, t)),
                "MONAI `compute_roc_auc`": lambda p, t: monai.compute_roc_auc(*both(p, t)),
            },
        ),
        "Brier score": (
            lambda p, t: brier_score(p, t).estimate(one)[0],
            {"scikit-learn `brier_score_loss`": lambda p, t: sklearn.brier_score_loss(t, p)},
        ),
        f"ECE, {BINS} bins": (
            lambda p, t: expected_calibration_error(reliability_curve(p, t)),
            {"torchmetrics `binary_calibration_error`": lambda p, t: classification.binary_calibration_error(*both(p, t), n_bins=BINS)},
        ),
    }


def number(score: Score, prediction: np.ndarray, truth: np.ndarray) -> float | str:
    """A score, or the name of the error it ended in."""
    try:
        found = score(prediction, truth)
    except (RuntimeError, AttributeError, ValueError) as error:
        return type(error).__name__
    return np.nan if found is None else float(np.squeeze(found))


def compared(table: Table, cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Print how far the others are from ours over the cases for which both have a finite number."""
    print("\n| score | library | cases | equal to 1e-6 | median difference | largest |\n| --- | --- | --- | --- | --- | --- |")
    for metric, (ours, others) in table.items():
        own = [number(ours, *case) for case in cases]
        for library, score in others.items():
            pairs = [(a, number(score, *case)) for a, case in zip(own, tqdm(cases, desc=library, leave=False), strict=True)]
            apart = np.abs([a - b for a, b in pairs if not isinstance(a, str) and not isinstance(b, str) and np.isfinite([a, b]).all()])
            equal = f"{100 * np.mean(apart <= 1e-6):.1f} %"
            print(f"| {metric} | {library} | {len(apart)} | {equal} | {np.median(apart):.2g} | {apart.max():.2g} |", flush=True)


def empties(table: Table) -> None:
    """Print what each makes of empty masks."""
    nothing, something = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    something[3:6, 8:16, 8:16] = True
    print("\n| score | library | both empty | only the truth empty | only the prediction empty |\n| --- | --- | --- | --- | --- |")
    for metric, (ours, others) in table.items():
        for library, score in {"ours": ours, **others}.items():
            found = [number(score, *case) for case in ((nothing, nothing), (something, nothing), (nothing, something))]
            print(f"| {metric} | {library} | {' | '.join(f if isinstance(f, str) else f'{f:g}' for f in found)} |")


def main() -> None:
    """Print three tables: masks, images, and empty masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of empty masks, and of names that SciPy and MONAI will drop
    compared(of_masks(), list(masks(options.cases)))
    compared(of_images(), list(images(options.cases)))
    empties(of_masks())


if __name__ == "__main__":
    main()
