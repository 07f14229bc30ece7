"""Experiments load whole or are refused in one line that names the key."""

from pathlib import Path

import pytest

from chestseg.config import load_experiment

MINIMAL = """
name: tiny
data: {sources: [{reader: siim, path: data/siim}], prepared: data/prepared}
stages: [{size: 256, epochs: 2}, {size: 512, epochs: 1, batch: 4}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(MINIMAL)
    return path


def test_overrides_reach_into_lists_and_keep_their_types(config: Path) -> None:
    experiment = load_experiment(config, ["stages.0.epochs=7", "stages.1.optimiser.lr=1e-4", "model.empty_head=true", "fold=all"])
    assert experiment.stages[0].epochs == 7
    assert experiment.stages[1].optimiser.lr == pytest.approx(1e-4)
    assert experiment.model.empty_head is True and experiment.fold == "all"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stages.0.epoch=3", "stages.0.epoch: no such key"),
        ("stages.0.size=100", "multiple of 32"),
        ("stages.0.size=1024", "may not go down"),
        ("stages.5.size=64", "not a place in a list of 2"),
        ("stages.0.epochs", "write key.path=value"),
        ("stages.0.epochs=0", "greater than or equal to 1, found 0"),
        ("fold=9", "there are folds 0 to 4"),
        ("training.min_workers=2", "min_workers 2 is more than workers 1"),
        ("training.workers=2", "1 micro-batch\\(es\\) for 2 workers"),
        ("stages.0.micro_batch=3", "not a multiple of micro_batch 3"),
        ("stages.0={size: 32, epochs: 2, micro_batch: 1}", "batch norm one value: raise micro_batch, batch or size"),
        ("stages.0.loss.empty=1", "set it to true"),
        ("stages.0.swa.last=9", "longer than the stage's 2 epochs"),
        ("stages.0.positives=1.5", "between 0 and 1"),
        ("postprocessing.top_threshold=0.2", "below threshold"),
        ("data.sizes=[100]", "multiples of 32"),
        ("data.sizes=[256]", "size 512 is larger than all data.sizes"),
        ("storage=http://bucket/runs", "neither a folder nor a bucket"),
        ("stages.0.epochs=[1,", "the value is not YAML"),
        ("data.sources.0.reader=kaggle", "data.sources.0.reader"),
        ("stages.0.optimiser.lr=.nan", "finite number"),
    ],
)
def test_a_mistake_is_named(config: Path, override: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        load_experiment(config, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "told"), [("- a\n- b", "is a mapping"), ("a: [", "not YAML"), (None, "No such file")])
def test_a_file_that_is_no_experiment(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "broken.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=told):
        load_experiment(path)


def test_the_digest_follows_what_shapes_the_weights_and_nothing_else(config: Path) -> None:
    digest = load_experiment(config).digest
    same = ["storage=elsewhere", "tracking.uri=http://x", "training.max_failures=9", "data.prepared=moved", "postprocessing.threshold=0.4"]
    assert load_experiment(config, same).digest == digest
    for other in ("seed=1", "fold=2", "stages.0.epochs=3", "model.encoder=resnet18", "training.precision=fp32"):
        assert load_experiment(config, [other]).digest != digest
