"""How a stage ends: early, with its best epoch; or whole, with its average."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from chestseg.training.averaging import Snapshots
from chestseg.training.group import Group
from chestseg.training.reporter import FolderReporter
from chestseg.training.run import train
from tests.training.arrays_in_memory import ArraysInMemory, small_experiment

STILL = {"lr": 1e-12, "final_lr": 0.0}
"""A rate at which nothing is learned, so no epoch is better than the first."""


def run(stage: dict[str, object], folder: Path) -> tuple[dict[str, torch.Tensor], FolderReporter]:
    stage = {"size": 32, "batch": 4, "micro_batch": 2, **stage}
    reporter = FolderReporter(folder / "checkpoints")
    final = train(small_experiment(stages=[stage]), ArraysInMemory(), Group(), reporter, folder)  # type: ignore[arg-type]
    return load_file(final), reporter


def test_it_stops_after_so_many_epochs_without_a_better_dice_and_returns_to_the_best(tmp_path: Path) -> None:
    final, reporter = run({"epochs": 9, "early_stop": 2, "optimiser": STILL, "frozen": ["batch_norm"]}, tmp_path)
    dices = [r.metrics["val_dice"] for r in reporter.reports if r.epoch is not None]
    best = dices.index(max(dices))
    assert len(dices) == best + 3 < 9
    kept = Snapshots(tmp_path / "snapshots").load(0, best)
    assert all(torch.equal(final[name], kept[name]) for name in final)


def test_the_average_replaces_the_last_weights_and_has_statistics_of_its_own(tmp_path: Path) -> None:
    final, reporter = run({"epochs": 3, "swa": {"last": 2, "batch_norm_batches": 4}}, tmp_path)
    average = Snapshots(tmp_path / "snapshots").average(0, [1, 2])
    for name, value in final.items():
        if name.endswith(("running_mean", "running_var")):
            assert not torch.equal(value, average[name]), name
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(value, average[name]), name
    assert "final_val_dice" in reporter.reports[-2].metrics


def test_a_frozen_encoder_keeps_its_weights(tmp_path: Path) -> None:
    stage = {"epochs": 1, "frozen": ["encoder", "batch_norm"]}
    final, _ = run(stage, tmp_path / "one")
    still, _ = run({**stage, "optimiser": STILL}, tmp_path / "two")
    encoder = [name for name in final if ".encoder." in name]
    decoder = [name for name in final if ".decoder." in name and name.endswith("weight")]
    assert all(torch.equal(final[name], still[name]) for name in encoder if "num_batches" not in name)
    assert any(not torch.equal(final[name], still[name]) for name in decoder)


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"stages.0, epoch \d: loss \w+ is .*: lower the learning rate"):
        run({"epochs": 8, "optimiser": {"name": "sgd", "lr": 1e12}}, tmp_path)
    assert not (tmp_path / "final.safetensors").exists()
