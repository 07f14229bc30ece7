"""The cluster launcher's file fits Ray's schema and keeps to what the README promises of it."""

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for
from ray.autoscaler._private.util import prepare_config, validate_config

from chestseg.cli.parser import build_parser
from chestseg.config import load_experiment
from tests.deployed import LOOKS_SECRET

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "cluster.yaml").read_text()


@pytest.fixture
def launcher() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


def test_ray_accepts_it(launcher):
    filled = prepare_config(launcher)
    validate_config(filled)  # raises on what its schema does not know
    assert set(filled["available_node_types"]) == set(launcher["available_node_types"])


def test_ray_would_refuse_an_unknown_key(launcher):
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config(launcher | {"max_wrokers": 1}))


def instead(place: str) -> dict[str, Any]:
    """The lines for another place, which stand as comments below its name."""
    _, _, below = TEXT.partition(f"\n# {place}: ")
    lines = itertools.takewhile(lambda line: line.startswith("# "), below.splitlines()[1:])
    return yaml.safe_load("\n".join(line.removeprefix("#   ") for line in lines if line.startswith("#   ")))


def test_ray_accepts_the_lines_for_gcp(launcher):
    other = launcher | instead("GCP")
    assert other["provider"]["type"] == "gcp" and set(other["available_node_types"]) == set(launcher["available_node_types"])
    validate_config(prepare_config(other))


def test_ray_accepts_the_lines_for_machines_of_ones_own(launcher):
    other = {key: value for key, value in launcher.items() if not key.endswith("node_type") and key != "available_node_types"}
    other |= instead("On-premises")
    filled = prepare_config(other)
    validate_config(filled)
    assert filled["max_workers"] == len(other["provider"]["worker_ips"])


@pytest.mark.parametrize("place", ["as it is", "GCP"])
def test_gpus_come_on_spot_and_on_demand_and_cost_nothing_while_idle(launcher, place):
    told = launcher if place == "as it is" else launcher | instead(place)
    head, workers = told["available_node_types"][told["head_node_type"]], dict(told["available_node_types"])
    del workers[told["head_node_type"]]
    assert set(workers) == {"gpu-spot", "gpu-on-demand"}
    assert all(node["min_workers"] == 0 < node["max_workers"] <= told["max_workers"] for node in workers.values())
    assert all(node["resources"]["GPU"] > 0 for node in workers.values()) and head["resources"].get("GPU", 0) == 0
    assert workers["gpu-spot"]["priority"] > workers["gpu-on-demand"].get("priority", 0)
    assert 0 < told["idle_timeout_minutes"] <= 30


def test_only_the_spot_group_asks_for_spot_machines(launcher):
    asking = [name for name, node in launcher["available_node_types"].items() if "InstanceMarketOptions" in node["node_config"]]
    assert asking == ["gpu-spot"]


def test_the_autoscaler_takes_spot_first_and_then_the_others(launcher):
    def score(*asked: Any) -> Any:
        return _default_utilization_scorer(*asked, node_availability_summary=NodeAvailabilitySummary({}))

    types = launcher["available_node_types"]
    demand: Any = [{"GPU": 1, "CPU": 1}] * 12
    nodes, unmet = get_nodes_for(types, {"head": 1}, "head", launcher["max_workers"], demand, score)
    assert nodes == {"gpu-spot": 8, "gpu-on-demand": 4} and not unmet
    nodes, unmet = get_nodes_for(types, {"head": 1}, "head", launcher["max_workers"], demand[:1], score)
    assert nodes == {"gpu-spot": 1} and not unmet


def test_every_start_mounts_the_same_bucket_with_the_nodes_own_rights(launcher):
    mounts = [command for key in ("head", "worker") for command in launcher[f"{key}_start_ray_commands"] if "s3fs" in command]
    assert len(mounts) == 2 and len(set(mounts)) == 1
    assert "iam_role=auto" in mounts[0] and "passwd" not in mounts[0]
    assert all("IamInstanceProfile" in node["node_config"] for node in launcher["available_node_types"].values())
    order = launcher["worker_start_ray_commands"]
    assert order.index(mounts[0]) < next(place for place, command in enumerate(order) if "ray start" in command)


def test_a_worker_watches_for_its_clouds_notice_without_hindering_its_start(launcher):
    order = launcher["worker_start_ray_commands"]
    [place] = [place for place, command in enumerate(order) if "-m chestseg.distributed.notice_watch" in command]
    assert place > next(place for place, command in enumerate(order) if "ray start" in command)
    assert order[place].startswith("nohup ") and order[place].endswith("2>&1 < /dev/null &")
    arguments = re.findall(r"notice_watch (.*?) >", order[place])[0].split()
    assert arguments == ["--address", "$RAY_HEAD_IP:6379"]
    # The one before is ended by a command of its own, whose pattern does not fit itself.
    assert "pkill" in order[place - 1] and "notice_watch" not in order[place - 1]


def test_packages_are_the_versions_tested(launcher):
    installs = [command for key in ("setup", "head_setup") for command in launcher[f"{key}_commands"] if "pip install" in command]
    assert len(installs) == 2 and all("--constraint ~/chestseg/constraints.txt ~/chestseg" in command for command in installs)


def test_bash_reads_every_command(launcher):
    for command in itertools.chain.from_iterable(value for key, value in launcher.items() if key.endswith("_commands")):
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert not done.returncode, f"{command}: {done.stderr}"


def test_the_job_it_shows_is_one(launcher):
    [shown] = re.findall(r"ray job submit .*?(?=#   ray down)", TEXT, re.DOTALL)
    submit, _, job = shown.replace("\n#", " ").partition(" -- ")
    assert (ROOT / submit.split("--runtime-env ")[1]).is_file()
    python, script, *arguments = shlex.split(job.replace("CONFIG", "jobs/configs/cxr_2st_unet.yaml"))
    assert python == "python" and (ROOT / script).is_file()
    told = build_parser().parse_args([Path(script).stem, *arguments])
    experiment = load_experiment(ROOT / told.config_path, told.overrides)
    # Not in the folder where the bucket is mounted, which has no whole renames.
    [bucket] = {bucket for start in launcher["worker_start_ray_commands"] for bucket in re.findall(r"s3fs (\S+) /shared", start)}
    assert all(place.startswith(f"s3://{bucket}/") for place in (experiment.storage, experiment.data.prepared))


def test_it_holds_no_secret():
    assert not LOOKS_SECRET.search(TEXT)


def test_the_dashboard_is_on_loopback_and_every_node_has_the_token(launcher):
    [start] = [command for command in launcher["head_start_ray_commands"] if "--head" in command]
    assert "--dashboard-host=127.0.0.1" in start
    assert "~/.ray/auth_token" in launcher["file_mounts"]
    assert any("RAY_AUTH_MODE=token" in command for command in launcher["setup_commands"])


def test_every_node_can_import_the_apps_that_serve_yaml_names(launcher, tmp_path):
    [exported] = [command for command in launcher["setup_commands"] if "PYTHONPATH=" in command]
    on_path = re.findall(r"PYTHONPATH=(\S+)", exported)
    for remote, local in launcher["file_mounts"].items():
        if not local.startswith("~"):
            place = tmp_path / remote.removeprefix("~/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(ROOT / local)
    [home] = [folder.replace("$HOME", str(tmp_path)) for folder in on_path]
    deployed = yaml.safe_load((ROOT / "serve_apps" / "serve.yaml").read_text())["applications"]
    modules = [app["import_path"].partition(":")[0] for app in deployed]
    assert len(modules) == 2
    # The folder `platform` lies there, too, and must not take the place of Python's own.
    program = f"import importlib.util as u, platform; platform.system(); assert all(map(u.find_spec, {modules}))"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": home}, check=True)


def test_what_it_mounts_of_the_checkout_exists(launcher):
    missing = [local for local in launcher["file_mounts"].values() if not local.startswith("~") and not (ROOT / local).exists()]
    assert not missing
