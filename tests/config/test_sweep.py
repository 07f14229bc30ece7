"""Sweeps load whole or are refused in one line that names the key and the remedy."""

from pathlib import Path

import pytest
import yaml

from chestseg.config import Sweep, load_sweep

CONFIGS = Path(__file__).parent.parent.parent / "jobs" / "configs"
BASE = """
name: tiny
data: {sources: [{reader: siim, path: data/siim}], prepared: data/prepared, sizes: [128, 256]}
model: {encoder: resnet18, weights: none}
stages:
  - {size: 128, epochs: 2, batch: 8, micro_batch: 4, optimiser: {final_lr: 1.0e-4}}
  - {size: 256, epochs: 9, batch: 8, micro_batch: 4, optimiser: {final_lr: 1.0e-4}, swa: {last: 3, lr: 1.0e-4}}
"""
SWEEP = """
name: sweep
base: base.yaml
trials: 16
budget: {per_trial: 1.0e+12}
space:
  stages: {low: 1, high: 3}
  sizes: {low: 96, high: 256, step: 32}
  batch: [4, 8]
  lr: {low: 1e-3, high: 1e-2, log: true}
windows: {tail: 6}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return path


def test_a_sweep_knows_its_base_its_folder_and_its_study(config: Path) -> None:
    sweep = load_sweep(config, ["set=[seed=7]", "storage=runs/x/"])
    assert sweep.experiment.seed == 7
    assert sweep.folder == "runs/x/sweep"
    assert sweep.optuna == "sqlite:///runs/x/sweep/optuna.db"
    assert load_sweep(config, ["optuna=postgresql://db/x"]).optuna == "postgresql://db/x"
    assert Sweep.model_validate_json(sweep.model_dump_json()) == sweep


@pytest.mark.parametrize("name", ["cxr_tune_small_real", "cxr_tune_demo", "ct_tune"])
def test_the_sweeps_of_the_house_load(name: str) -> None:
    sweep = load_sweep(CONFIGS / f"{name}.yaml")
    assert sweep.experiment.training.compare_at, "trials of different resolutions are compared on one grid"
    assert sweep.windows and sweep.windows.candidates >= 24


def test_the_real_sweep_is_as_large_as_it_must_be() -> None:
    sweep = load_sweep(CONFIGS / "cxr_tune_small_real.yaml")
    assert sweep.trials >= 16 and sweep.space.most_stages == 3
    assert [stage["size"] for stage in sweep.space.ladder] == list(range(96, 257, 32))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("space.lr={low: 1, high: 0.1}", "space.lr.range: low 1 is above high 0.1"),
        ("space.lr={low: 0, high: 1, log: true}", "no logarithm"),
        ("space.lr={low: 0.1}", "space.lr.range.high: missing"),
        ("space.lr={low: 0.0, high: 1}", "space.lr 0: stages.0.optimiser.lr: .*greater than 0"),
        ("space.lr={low: 1.0e-5, high: 1}", "below the base's final_lr 0.0001"),
        ("space.lr=[]", "space.lr: an empty list: give at least one value"),
        ("space.batch=[4, 4]", "holds a value twice"),
        ("space.batch=[4, 6]", "space.batch 6: stages.0: batch 6 is not a multiple of micro_batch 4"),
        ("space.sizes={low: 96, high: 250, step: 32}", "miss high 250"),
        ("space.sizes=[100, 128, 256]", "space, size 100: stages.0.size: .*multiple of 32"),
        ("space.sizes=[128, 256, 512]", "space, size 512: .*larger than all data.sizes"),
        ("space.sizes=[128, 256]", "3 stages need as many increasing sizes, there are 2"),
        ("space.sizes=null", "give sizes \\(radiographs\\) or spacings \\(volumes\\)"),
        ("space.stages=0", "at least 1"),
        ("space.share={low: 0, high: 1}", "lie between 0 and 1"),
        ("space.positives=[0.5, 1.5]", "space.positives 1.5: .*between 0 and 1"),
        ("space.augmentation={low: 1, high: 3}", "space.augmentation 3"),
        ("space.loss={bce: [0, 1], dice: [0, 1]}", "all mask losses may be 0 in one trial"),
        ("space.loss={empty: [0, 1]}", "space.loss.empty 1: .*model.empty_head"),
        ("space.loss={jaccard: [0, 1]}", "space.loss.jaccard: no such key"),
        ("space.encoder={}", "name at least one encoder"),
        ("space.decoder=[1]", "space.decoder: no such key"),
        ("space.by_stage=[momentum]", "space.by_stage.0"),
        ("metric=dice", "metric: Input should be 'val_dice', 'val_dice_positives' or 'val_negatives_empty', found 'dice'"),
        ("second=latency", "set pruner: null"),
        ("sampler=cmaes", "needs the same numbers in every trial"),
        ("pruner.rungs=[0.5, 0.2]", "ascending"),
        ("pruner.rungs=[0.5, 1.0]", "between 0 and 1"),
        ("pruner.rungs=[]", "pruner.rungs"),
        ("budget.per_trial=0", "budget.per_trial: .*greater than 0"),
        ("budget.unit=hours", "budget.unit"),
        ("windows.tail=5", "of 5 epochs holds 17 windows, 24 are to be scored"),
        ("set=[fold=all]", "set: \\[fold=0\\]"),
        ("set=[stages.0.early_stop=3]", "stages.0.early_stop would end a trial"),
        ("set=[stages.1.swa=null]", "give space.tail_lr, or swa.lr"),
        ("storage=http://bucket/x", "neither a folder nor a bucket"),
        ("base=other.yaml", "other.yaml: No such file"),
        ("name=A sweep", "name: "),
        ("trials=0", "trials: "),
    ],
)
def test_a_mistake_is_named(config: Path, override: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        load_sweep(config, [override])
    assert "\n" not in str(caught.value)


def test_a_space_without_a_choice_is_refused(config: Path) -> None:
    fixed = {"stages": 1, "sizes": [256], "lr": 1.0e-3}
    with pytest.raises(ValueError, match="nothing is left to draw"):
        load_sweep(config, [f"space={yaml.safe_dump(fixed, default_flow_style=True).strip()}"])


def test_a_tail_that_nothing_asks_for_is_refused(config: Path) -> None:
    with pytest.raises(ValueError, match="there is no tail"):
        load_sweep(config, ["windows=null", "space.tail_lr=1.0e-4", "set=[stages.1.swa=null]"])


def test_the_other_track_is_refused(config: Path) -> None:
    spacings = "[{spacing: [5, 2, 2], patch: [4, 64, 64]}, {spacing: [5, 1, 1], patch: [4, 64, 64]}]"
    with pytest.raises(ValueError, match="the base tiny is of track cxr: give sizes instead"):
        load_sweep(config, ["space.sizes=null", "space.stages=2", f"space.spacings={spacings}"])


def test_spacings_are_ordered_and_must_have_an_order() -> None:
    path = CONFIGS / "ct_tune.yaml"
    assert [stage["spacing"][1] for stage in load_sweep(path).space.ladder] == [2.8, 2.0, 1.4]
    with pytest.raises(ValueError, match="voxels of one volume"):
        load_sweep(path, ["space.spacings.0.spacing=[5.0, 1.4, 1.4]"])
    with pytest.raises(ValueError, match="not among data.spacings"):
        load_sweep(path, ["space.spacings.0.spacing=[5.0, 9.0, 9.0]"])


def test_cmaes_takes_a_space_of_fixed_numbers(config: Path) -> None:
    assert load_sweep(config, ["sampler=cmaes", "space.stages=2", "space.batch=8"]).space.fixed_numeric
    with pytest.raises(ValueError, match="knows one objective"):
        load_sweep(config, ["sampler=cmaes", "space.stages=2", "space.batch=8", "second=flops", "pruner=null"])


def test_the_digest_follows_what_shapes_trials_and_decisions(config: Path) -> None:
    digest = load_sweep(config).digest
    for same in ("trials=99", "at_once=3", "storage=elsewhere", "optuna=sqlite:///x.db", "retrain=all", "set=[storage=y]"):
        assert load_sweep(config, [same]).digest == digest, same
    changes = ("seed=1", "name=b", "budget.per_trial=2", "space.batch=[4]", "pruner.reduction=2", "metric=val_dice", "windows.tail=7")
    for other in (*changes, "set=[seed=5]", "set=[training.compare_at=128]", "validations=5", "sampler=random", "pruner=null"):
        assert load_sweep(config, [other]).digest != digest, other
