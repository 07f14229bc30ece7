"""Sweeps that were conducted as real ones are, of trials whose Dice is a formula instead of a training."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chestseg.config import Experiment, Sweep, parse
from chestseg.training.window_plan import Round
from chestseg.training.windows import Check, WindowResult, WindowScore, candidates
from chestseg.tuning.asha import Rungs
from chestseg.tuning.compute import Cost, Costs, compute_reached, cost_key, epochs_of
from chestseg.tuning.conductor import Conductor
from chestseg.tuning.records import SweepJournal
from chestseg.tuning.result import Outcome
from chestseg.tuning.sampler import Sampler
from chestseg.tuning.space import draw, experiment_of

ROOT = Path(__file__).parent.parent.parent
SIZES = (64, 96, 128, 192, 256)
SPACE = {
    "stages": [1, 2, 3],
    "sizes": list(SIZES),
    "lr": {"low": 1.0e-4, "high": 1.0e-2, "log": True},
    "loss": {"dice": [0.5, 1.0, 2.0]},
    "encoder": {"timm-tf_efficientnet_lite0": "package", "mobilenet_v2": "none"},
}


def a_sweep(folder: Path, **changes: Any) -> Sweep:
    """Of radiographs, over schedules of one to three stages; nothing of it is prepared or trained."""
    tree = {
        "name": "formula", "base": str(ROOT / "jobs" / "configs" / "cxr_small_real.yaml"), "trials": 30, "seed": 3, "sampler": "random",
        "budget": {"unit": "flops", "per_trial": 1.2e12}, "space": SPACE, "windows": {"tail": 6}, "storage": str(folder),
    }  # fmt: skip
    return parse(Sweep, {**tree, **changes}, "test")


def costs_of(sweep: Sweep) -> Costs:
    """A pixel costs the same at every size, in every network."""
    base, by = sweep.experiment, {}
    for encoder in sweep.space.encoder or [base.model.encoder]:
        experiment = base.model_copy(update={"model": base.model.model_copy(update={"encoder": encoder})})
        for size in SIZES:
            for stage in base.stages:
                key = cost_key(experiment, stage.model_copy(update={"size": size}))
                by[key] = Cost(training=1e4 * size**2, validation=3e3 * size**2)
    return Costs(unit="flops", training_cases=92, validation_cases=23, by=by)


def dice(experiment: Experiment, number: int, share: float) -> float:
    """Better with a rate near 1e-3, a fine last stage after a coarse one, and compute."""
    rate = math.log10(experiment.stages[-1].optimiser.lr) + 3
    size = getattr(experiment.stages[-1], "size", 128)
    best = 0.55 - 0.12 * rate**2 + 0.05 * math.log2(size / 128) + 0.04 * (len(experiment.stages) == 2)
    noise = np.random.default_rng([7, number, int(1000 * share)]).normal()
    return max(0.0, best * (1 - math.exp(-5 * share)) + 0.01 * noise)


def conduct(folder: Path, finished: bool = True, **changes: Any) -> Outcome:
    """A whole sweep, trial after trial; every eleventh fails, and unless `finished` the last one is still running."""
    sweep = a_sweep(folder, **changes)
    costs, directions = costs_of(sweep), ("maximize", "minimize") if sweep.second else ("maximize",)
    sampler = Sampler(sweep.sampler, sweep.seed, lambda trial: draw(sweep.space, trial), directions, sweep.space.fixed_numeric)
    rungs = Rungs([share * sweep.budget.per_trial for share in sweep.pruner.rungs], sweep.pruner.reduction) if sweep.pruner else None
    conductor = Conductor(SweepJournal(Path(sweep.folder)), sampler, rungs, sweep.trials)
    while trial := conductor.next():
        if trial.number % 11 == 10:
            conductor.finish(trial.number, "failed", extra={"reason": "loss is nan: lower the learning rate"})
            continue
        experiment = experiment_of(sweep, sweep.experiment, trial.params, costs, trial.number)
        goes_on = _train(conductor, sweep, costs, experiment, trial.number)
        if goes_on is None or (not finished and trial.number == sweep.trials - 1):
            continue
        _end(conductor, sweep, experiment, trial.number)
    return Outcome(sweep, sweep.experiment, costs, conductor.records())


def _train(conductor: Conductor, sweep: Sweep, costs: Costs, experiment: Experiment, number: int) -> bool | None:
    """Report after every validation; None where the trial was stopped."""
    before = 0
    for stage in experiment.stages:
        steps = epochs_of(experiment, stage, costs, costs.validation_cases).steps
        for epoch in range(1, stage.epochs + 1):
            if epoch % stage.validate_every and epoch != stage.epochs:
                continue
            compute = compute_reached(experiment, costs, costs.validation_cases, before + epoch * steps)
            value = dice(experiment, number, compute / sweep.budget.per_trial)
            if not conductor.report(number, before + epoch * steps, compute, value):
                conductor.finish(number, "pruned")
                return None
        before += stage.epochs * steps
    return True


def _end(conductor: Conductor, sweep: Sweep, experiment: Experiment, number: int) -> None:
    values = [dice(experiment, number, 1.0) + 0.01]
    if sweep.second:
        values.append(1e-4 * getattr(experiment.stages[-1], "size", 128))
    window = {"window": asdict(window_result(experiment, values[0]))} if sweep.windows else {}
    conductor.finish(number, "complete", values, {"weights": "0" * 64, "seconds": 12.5, **window})


def window_result(experiment: Experiment, best: float) -> WindowResult:
    """As if windows had been scored in two rounds, the longer the better up to four epochs."""
    stage = experiment.stages[-1]
    assert stage.swa
    windows = candidates(stage.swa.constant, stage.epochs - 1, 24)
    scored = [(best - 0.01 * abs(len(w.epochs(stage.epochs - 1)) - 4) - 0.003 * w.skip, w) for w in windows]
    ranked = sorted(scored, key=lambda pair: -pair[0])
    rows = tuple(WindowScore(*w, tuple(w.epochs(stage.epochs - 1)), 23 if i < 12 else 12, s) for i, (s, w) in enumerate(ranked))
    check = Check(
        batches=48, epoch_batches=92, cases=23, score=rows[0].score, score_full=rows[0].score + 0.001, probability_mean=0.0012,
        probability_largest=0.04,
    )  # fmt: skip
    rounds = (Round(len(windows), 12), Round(12, 23))
    swa = {**ranked[0][1]._asdict(), "tail": stage.swa.constant}
    return WindowResult(
        swa=swa, metric="val_dice_positives", table=rows, rounds=rounds, held_out=23, batch_norm_batches=16, check=check, share=0.08,
        seconds=1.9,
    )  # fmt: skip
