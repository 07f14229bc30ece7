"""Ablations and lists of datasets as YAML, and what is refused in them."""

from pathlib import Path

import pytest
import yaml

from chestseg.config.ablation import load_ablation
from chestseg.config.external import load_external

BASE = {
    "name": "small",
    "data": {"sources": [{"reader": "siim", "path": "x"}], "prepared": "x", "sizes": [32, 64], "folds": 3},
    "stages": [{"size": 32, "epochs": 2}, {"size": 64, "epochs": 2}],
}


def write(tmp_path: Path, **changed: object) -> Path:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    tree = {"name": "small-ablation", "base": "base.yaml", "variations": {"one": {"last_stage_only": True, "equal": "compute"}}}
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(tree | changed))
    return tmp_path / "ablation.yaml"


def test_an_ablation_and_its_base(tmp_path: Path) -> None:
    ablation = load_ablation(write(tmp_path), ["folds=[0,2]"])
    assert (ablation.folds, ablation.experiment.name, ablation.folder) == ((0, 2), "small", "runs/small-ablation")
    assert ablation.without == ("swa", "tta")


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"folds": [3]}, "folds: 3 is none of folds 0 to 2"),
        ({"variations": {"one": {"equal": "time"}}}, "variations.one.equal goes with last_stage_only: true"),
        ({"variations": {"one": {"starts_as": "first"}}}, "variations.one.starts_as goes with last_stage_only: true"),
        ({"variations": {"one": {"set": ["stages.0.size=128"]}}}, "a stage of size 128 is larger than all data.sizes"),
        ({"variations": {}}, "variations"),
        ({"variations": {"base": {}}}, "variations.base: so the base itself is called: give the variation another name"),
        ({"base": "none.yaml"}, "none.yaml: No such file"),
    ],
)
def test_refused(tmp_path: Path, changed: dict[str, object], finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        load_ablation(write(tmp_path, **changed))


def test_a_list_without_datasets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(yaml.safe_dump({"name": "x", "model": "y", "datasets": []}))
    with pytest.raises(ValueError, match="datasets"):
        load_external(tmp_path / "list.yaml")
