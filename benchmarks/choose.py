"""Choosing post-processing from cached probabilities: minutes, memory and disk for many radiographs.

    python -m benchmarks.choose [--cases 12000] [--size 512] [--folds 5] [--grid 0.05] [--folder build/choose-benchmark]

What a network would say is generated, since neither so many radiographs nor a network of that quality can be shipped: a logit map is
smooth noise (cubic between 24x24 random knots, standard deviation 1.5) around -6.5 with noise of 0.3 in every pixel. 22 % of the cases
have a true crescent beneath one side of the chest; there the map is lifted by 2 to 14, over a crescent of another width and place, so that
some are missed and none is drawn exactly. 8 % of the others have one lifted by 0 to 9 and no truth. An empty-mask head answers with noise
around the truth. Timed are reading, counting, the search over all combinations and saving the surface; generating and writing are told
apart, and left out by the next call with the same arguments, which finds them in the folder.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from chestseg.config import Postprocessing
from chestseg.evaluation.choose import choose
from chestseg.evaluation.choose_radiographs import Candidates
from chestseg.evaluation.levels import pack
from chestseg.evaluation.probabilities import CachedCase, Origin, ProbabilityCache, TrainedNetwork
from chestseg.evaluation.write_probabilities import write_cases
from chestseg.preprocessing import Preprocessing

POSITIVE, FALSE_ALARM = 0.22, 0.08
KNOTS = 24


def crescent(size: int, side: int, height: float, width: float) -> np.ndarray:
    """A band of air along the outer wall of one lung, bool (size, size); measures in shares of the edge."""
    rows, columns = (places / np.float32(size) for places in np.ogrid[:size, :size])
    middle = 0.28 + 0.44 * side
    outer = ((rows - 0.45) / height) ** 2 + ((columns - middle) / 0.2) ** 2 < 1
    inner = ((rows - 0.45 - width) / height) ** 2 + ((columns - middle - width * (1 - 2 * side)) / 0.2) ** 2 < 1
    return outer & ~inner


def made_up(seed: int, size: int) -> CachedCase:
    """One case."""
    random = np.random.default_rng(seed)
    knots = random.standard_normal((KNOTS, KNOTS), np.float32) * 1.5 - 6.5
    logits = cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    logits += random.standard_normal(size * size, np.float32).reshape(size, size) * 0.3
    positive, alarm = random.random() < POSITIVE, random.random() < FALSE_ALARM
    truth = np.zeros((size, size), bool)
    if positive or alarm:
        side, height, width = int(random.integers(2)), random.uniform(0.12, 0.38), random.uniform(0.01, 0.08)
        seen = crescent(size, side, height * random.uniform(0.9, 1.1), width * random.uniform(0.7, 1.4)).astype(np.float32)
        logits += cv2.GaussianBlur(seen, (0, 0), size / 100) * (random.uniform(2, 14) if positive else random.uniform(0, 9))
        truth = crescent(size, side, height, width) if positive else truth
    disease = 1 / (1 + np.exp(-random.normal(2 if positive else -2, 1.5)))
    return CachedCase(f"case-{seed:06d}", pack(1 / (1 + np.exp(-logits)), truth), float(disease))


def caches(folder: Path, cases: int, size: int, folds: int) -> list[ProbabilityCache]:
    """As many cases as asked for, dealt to the folds; what is there is not made again."""
    made = []
    for fold in range(folds):
        seeds = range(fold, cases, folds)
        origin = Origin(
            network=TrainedNetwork(digest=f"made-up-{fold}", dataset_hash="made-up", held_out=fold),
            dataset_hash="made-up",
            split="train",
            fold=fold,
            preprocessing=Preprocessing(size=size),
            postprocessing=Postprocessing(),
            cases=len(seeds),
        )

        def answers(places: Sequence[int], seeds: range = seeds) -> list[CachedCase]:
            return [made_up(seeds[place], size) for place in places]

        made.append(write_cases(folder / f"fold-{fold}", origin, answers, progress=True))
    return made


def peak_gb() -> float:
    """The most main memory that this process held."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e9


def main() -> None:
    """Make the caches, choose, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--grid", type=float, default=0.05, help="step between thresholds, a multiple of 0.01")
    parser.add_argument("--folder", type=Path, default=Path("build/choose-benchmark"))
    told = parser.parse_args()
    cv2.setNumThreads(1)
    folder = told.folder / f"{told.cases}-{told.size}-{told.folds}"
    started = time.perf_counter(), time.process_time()
    made = caches(folder, told.cases, told.size, told.folds)
    print(f"generated and written in {time.perf_counter() - started[0]:.0f} s, processor {time.process_time() - started[1]:.0f} s")
    disk = sum(path.stat().st_size for path in folder.rglob("*.npz"))
    steps = tuple(k / 100 for k in range(round(100 * told.grid), 100, round(100 * told.grid)))
    started = time.perf_counter(), time.process_time()
    choice = choose(made, candidates=Candidates(threshold=steps, top_threshold=steps), progress=True)
    choice.save(folder / "choice")
    wall, processor = time.perf_counter() - started[0], time.process_time() - started[1]
    scores, rules = choice.surface.at(choice.place), int(np.isfinite(choice.surface.scores["mean_dice"]).sum())
    print(f"{told.cases} maps of {told.size} px, {disk / 1e9:.3f} GB on disk, {rules} rules: {wall:.0f} s, processor {processor:.0f} s")
    print(f"peak memory {peak_gb():.2f} GB, of the whole process, generating included if that was done now")
    print(f"chosen: {choice.rule}\n{scores}, {choice.ties} rules as good")


if __name__ == "__main__":
    main()
