"""Experiments of seconds as the YAML that users write: a tiny network from scratch, all of its files in one folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.empty_store import empty_store

MODEL = {"encoder": "mobilenet_v2", "weights": "none", "decoder_channels": [16, 16, 8, 8, 4]}


def small_job(folder: Path, name: str, stages: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The tree of an experiment over the radiographs in `folder/siim`; `data` and `tracking` among `more` add to what stands here."""
    sizes = sorted({stage["size"] for stage in stages})
    data = {"sources": [{"reader": "siim", "path": str(folder / "siim")}], "prepared": str(folder / "prepared"), "sizes": sizes}
    tracking = {"experiment": name, "model": None} | more.get("tracking", {})
    return {
        "name": name,
        "model": MODEL,
        "stages": list(stages),
        "training": {"precision": "fp32"},
        "storage": str(folder / "runs"),
        **more,
        "data": data | {"folds": 2, "test_share": 0.25} | more.get("data", {}),
        "tracking": tracking if "uri" in tracking else tracking | {"uri": empty_store(folder / "mlflow.db")},
    }


def write_job(folder: Path, tree: dict[str, Any]) -> Path:
    """Its YAML, named after it."""
    path = folder / f"{tree['name']}.yaml"
    path.write_text("# Made by a test.\n" + yaml.safe_dump(tree))
    return path
