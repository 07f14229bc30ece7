"""Settings of the endpoints, as Ray hands them over: from YAML, or as flat text from a command line."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from chestseg.config.serving import CtServing, CxrServing, Serving

ROOT = Path(__file__).parent.parent.parent


def test_the_command_lines_dots_are_groups() -> None:
    settings = CxrServing.model_validate({"model": "bundle", "limits.seconds": "10", "limits.queued": "3", "candidate.share": "0.5"})
    assert (settings.limits.seconds, settings.limits.queued, settings.limits.body_mb) == (10, 3, 64)
    assert settings.candidate.share == 0.5
    assert CtServing.model_validate({"limits": {"slices": 5}, "limits.seconds": 7}).limits.slices == 5


@pytest.mark.parametrize(
    ("tree", "finding"),
    [
        ({"modle": "x"}, "modle"),
        ({"limits.second": "1"}, "limits.second"),
        ({"replicas": {"min": 3, "max": 2}}, "min 3 is above max 2"),
        ({"front.min": "0"}, "somebody must listen"),
        ({"candidate.share": "1.5"}, "candidate.share"),
        ({"limits": 3, "limits.seconds": 3}, "limits is a group of keys"),
        ({"cache": "s3://bucket/cache"}, "s3://bucket/cache: a URI where files are .*: give a folder that all nodes share"),
    ],
)
def test_what_is_refused(tree: dict[str, object], finding: str) -> None:
    with pytest.raises(ValidationError, match=finding):
        CxrServing.model_validate(tree)


def test_jobs_lie_in_a_folder() -> None:
    with pytest.raises(ValidationError, match="gs://bucket/jobs: a URI where files are .*: give a folder"):
        CtServing.model_validate({"jobs.folder": "gs://bucket/jobs"})


@pytest.mark.parametrize(("name", "record"), [("cxr", CxrServing), ("ct", CtServing)])
@pytest.mark.parametrize("file", ["serve_apps/serve.yaml", "deploy/serve.yaml"])
def test_the_files_that_come_with_it_are_good(name: str, record: type[Serving], file: str) -> None:
    tree = yaml.safe_load((ROOT / file).read_text())
    config = yaml.safe_load(tree["spec"]["serveConfigV2"]) if "spec" in tree else tree
    app = next(app for app in config["applications"] if app["name"] == name)
    assert record.model_validate(app.get("args", {})).model.endswith("@champion")
    assert app["import_path"] == f"serve_apps.{name}:app"
