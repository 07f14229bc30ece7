"""Fifty kills at random moments of two-stage trainings with two workers on a simulated cluster of three nodes.

    python -m benchmarks.fifty_kills [--folder /tmp/chestseg-benchmark/fifty-kills] [--kills 50] [--trainings 5] [--seed 0]

A training is left alone first; then others of the same experiment have their workers, nodes and drivers killed. Lost nodes are replaced,
the driver's command is given again. Moments are steps drawn anywhere in the schedule, and up to half a second more; one kill in five
comes while the training is still recovering from the one before. Each training must end with the weights of the undisturbed one, bit for
bit, and with its metrics in MLflow, none doubled or missing; a kill may cost one checkpoint interval of steps.
"""

import argparse
import collections
import random
import shutil
import statistics
import time
from pathlib import Path

from chestseg.distributed.drill import SETTINGS, Outcome, ended, finish, left_alone_steps, outcome
from chestseg.distributed.drill_account import Toll
from chestseg.distributed.drill_faults import Drill
from chestseg.distributed.drill_training import DrilledRun, moments, write_config
from chestseg.distributed.simulated import SimulatedCluster, simulated_cluster
from chestseg.distributed.train import STEPS

KINDS = ("worker", "node", "driver")
EPOCHS = (10, 10)
CHECKPOINT_EVERY = 5
SOON = 20.0
"""Seconds within which a kill comes that shall meet a training which is still recovering."""


def disturb(drilled: Drill, kills: int, steps: int) -> None:
    """Train to the end, killed so many times."""
    draw, run = drilled.draw, drilled.run
    order = [kind for place, kind in zip(range(kills), KINDS * kills, strict=False)]
    soon = [place > 0 and draw.random() < 0.2 for place in range(kills)]
    steps_left = iter(moments(draw, kills - sum(soon), steps))
    with ended(run):
        run.start()
        for kind, is_soon in zip(draw.sample(order, kills), soon, strict=True):
            if not is_soon:
                run.wait_for_progress(drilled.faults[-1].at if drilled.faults else 0.0)
                run.wait_for_step(next(steps_left))
            time.sleep(draw.uniform(0.0, SOON if is_soon else 0.5))
            getattr(drilled, kind)()
        finish(run)


def shown(toll: Toll) -> str:
    """A kill in a few words."""
    return f"  {toll.fault.kind:<6} after step {toll.fault.step:>4}: {toll.repeated} repeated, {toll.seconds:.0f} s"


def summary(outcomes: list[Outcome]) -> list[str]:
    """All trainings as a table in Markdown."""
    lines = ["| killed | times | most steps repeated | seconds until it went on: median | most |", "| --- | --- | --- | --- | --- |"]
    by_kind: dict[str, list[Toll]] = collections.defaultdict(list)
    for toll in (toll for told in outcomes for toll in told.tolls):
        by_kind[toll.fault.kind].append(toll)
    for kind, tolls in by_kind.items():
        seconds = [toll.seconds for toll in tolls]
        most = max(toll.repeated for toll in tolls)
        lines.append(f"| {kind} | {len(tolls)} | {most} | {statistics.median(seconds):.0f} | {max(seconds):.0f} |")
    metrics = [told.metrics for told in outcomes]
    return [
        *lines,
        f"{sum(len(told.tolls) for told in outcomes)} kills in {len(outcomes)} trainings of {outcomes[0].steps} steps, "
        f"a checkpoint every {outcomes[0].checkpoint_every}",
        f"weights equal bit for bit: {sum(told.same_weights for told in outcomes)} of {len(outcomes)} trainings",
        f"metrics doubled {sum(m.doubled for m in metrics)}, missing {sum(m.missing for m in metrics)}, "
        f"changed {sum(m.changed for m in metrics)}; steps left out {sum(told.skipped for told in outcomes)}",
        "SOMETHING WAS LOST" if any(told.lost for told in outcomes) else "nothing was lost",
    ]


def one_training(cluster: SimulatedCluster, config: Path, name: str) -> DrilledRun:
    """Of a name, which is also that of its database."""
    return DrilledRun(config, name, f"{config.parent}/runs", f"sqlite:///{config.parent}/{name}.db", cluster.driver_env)


def main() -> None:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/chestseg-benchmark/fifty-kills"))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trainings", type=int, default=5, help="over which the kills are spread")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    told = parser.parse_args()
    shutil.rmtree(told.folder, ignore_errors=True)
    told.folder.mkdir(parents=True)
    config = write_config(told.folder, EPOCHS, CHECKPOINT_EVERY)
    outcomes: list[Outcome] = []
    with simulated_cluster((1, 1), {**SETTINGS, STEPS: str(told.folder)}) as cluster:
        left_alone = one_training(cluster, config, "undisturbed")
        expected = left_alone_steps(left_alone, lambda line: print(line, flush=True))
        for number in range(told.trainings):
            kills = told.kills // told.trainings + (number < told.kills % told.trainings)
            drilled = Drill(cluster, one_training(cluster, config, f"killed-{number}"), seed=told.seed)
            drilled.draw = random.Random(f"{told.seed}-{number}")
            start = time.monotonic()
            disturb(drilled, kills, len(expected))
            outcomes.append(outcome(drilled, left_alone, expected, CHECKPOINT_EVERY))
            print(f"training {number + 1}: {kills} kills in {time.monotonic() - start:.0f} s", flush=True)
            print("\n".join(map(shown, outcomes[-1].tolls)), flush=True)
            print("\n".join(summary(outcomes)), flush=True)


if __name__ == "__main__":
    main()
