"""An experiment's tree of keys with some values exchanged: how a sweep makes trials of its base."""

from collections.abc import Mapping
from typing import Any

from chestseg.config.experiment import Experiment
from chestseg.config.windows import Windows

Tree = dict[str, Any]


def template(base: Experiment, behind: int) -> Tree:
    """The base's stage that a trial's stage takes after: as far from the end, or the first where there is none so far.

    Args:
        base: the experiment.
        behind: how many stages of the trial come after this one.

    Returns:
        Its tree, which may be changed. Only a trial's last stage is averaged as the base's last is.
    """
    stages = base.model_dump(mode="json")["stages"]
    chosen = stages[max(0, len(stages) - 1 - behind)]
    return chosen | {"swa": None} if behind and len(stages) == 1 else chosen


def exchanged(tree: Tree, values: Mapping[str, Any]) -> Tree:
    """A tree with other values at some paths, such as `optimiser.lr`."""
    for path, value in values.items():
        key, _, rest = path.partition(".")
        tree = tree | {key: exchanged(tree[key], {rest: value}) if rest else value}
    return tree


def averaged(tree: Tree, windows: Windows | None, tail_lr: float | None) -> Tree:
    """A last stage that ends in the tail that `windows` wants, at a constant rate if one is given; its window is all of the tail."""
    swa = tree["swa"]
    if windows:
        swa = (swa or {}) | {"last": windows.tail, "stride": 1, "skip": 0, "tail": windows.tail}
    if swa and tail_lr is not None:
        swa = swa | {"lr": tail_lr}
    return tree | {"swa": swa}


def least_epochs(tree: Tree) -> int:
    """Of a stage: one, and the tail or window of its averaging after it."""
    swa = tree["swa"]
    return 1 + max(swa.get("tail") or 0, swa.get("skip", 0) + swa["last"]) if swa else 1
