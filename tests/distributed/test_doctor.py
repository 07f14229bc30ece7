"""The doctor on a cluster of three nodes, one of which has other code and one of which is lost; its judgement of what can't be had here."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from chestseg.cli import main
from chestseg.cli.doctor import lines, need_of
from chestseg.distributed import doctor_node
from chestseg.distributed.doctor import HERE, Sight
from chestseg.distributed.doctor_check import Check
from chestseg.distributed.doctor_cluster import judge_cluster
from chestseg.distributed.doctor_judge import judge_nodes
from tests.distributed import doctored
from tests.servers import free_port, mlflow_server
from tests.small_job import small_job, write_job

ROOT = Path(__file__).parents[2]
SHA = "a" * 64


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment whose dataset looks prepared."""
    folder = tmp_path_factory.mktemp("fit")
    for name in ("siim", "prepared"):
        (folder / name).mkdir()
    (folder / "prepared" / "prepared.json").write_text("{}")
    stages, tracking = [{"size": 32, "epochs": 1, "batch": 4}], {"uri": f"sqlite:///{folder}/mlflow.db"}
    return write_job(folder, small_job(folder, "fit", stages, training={"gpu": "no"}, tracking=tracking))


def found(told: dict[str, Any], check: str) -> list[tuple[str, str]]:
    """State and words of a check's lines."""
    return [(line["state"], line["told"]) for line in told["checks"] if line["check"] == check]


@pytest.mark.ray
@pytest.mark.slow
def test_of_three_nodes_one_is_whole_one_has_other_code_and_one_is_lost(config: Path, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="d") as short:
        Path(short, "ray").mkdir()
        other = tmp_path / "other"
        subprocess.run(["cp", "-r", ROOT / "platform", other], check=True)
        (other / "chestseg" / "distributed" / "train.py").write_text('"""Other code."""\n')
        env = os.environ | {"RAY_TMPDIR": short, "PYTHONPATH": str(ROOT / "platform")}
        program = [sys.executable, doctored.__file__, str(config), str(other), str(free_port())]
        done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=280)
    assert not done.returncode, done.stderr[-3000:]
    told, code, hanging, mismatch, code_of_mismatch = values(done.stdout)
    assert (code, code_of_mismatch) == (1, 1)
    assert sorted(state for state, _ in found(told, "node")) == ["finding", "ok"]
    [other_code, same_code] = found(told, "versions")
    assert other_code[0] == "finding" and other_code[1].startswith("code ") and same_code[0] == "ok"
    assert ("finding", "Ray counts 1, NVIDIA's driver 0") in found(told, "gpu") or found(told, "gpu")[0][0] == "ok"
    assert [state for state, words in found(told, "mlflow") if "is a file of this machine" in words] == ["finding"]
    for check in ("import", "clock", "storage", "data", "room", "memory", "plan", "disk", "token", "ports"):
        assert {state for state, _ in found(told, check)} <= {"ok", "note"}, found(told, check)
    assert all(line["remedy"] for line in told["checks"] if line["state"] == "finding")
    assert not list(config.parent.glob(".chestseg-doctor-*"))
    assert len(hanging["answers"]) == 1 and list(hanging["silent"].values()) == ["no answer within 2 s"]
    assert "The cluster was started with: Ray: 2.0.0" in found(mismatch, "versions")[0][1]


def values(text: str) -> list[Any]:
    """JSON values one after the other."""
    read, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        read.append(value)
        text = text[end:]
    return read


@pytest.mark.ray
def test_a_cluster_that_is_fit_gives_code_0_and_a_line_a_check(config: Path, cluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(config)]) == 0
    told = capfd.readouterr().out.splitlines()
    assert told[-1] == "fit" and all(line.startswith(("ok ", "note ", " ")) for line in told[:-1])
    assert not list(config.parent.glob(".chestseg-doctor-*")) and not (config.parent / "mlflow.db").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "http://127.0.0.1:8265"])
def test_where_it_cannot_look_it_says_so_at_once(address: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; from chestseg.cli import main; sys.exit(main(['doctor']))"
    env = os.environ | {"RAY_ADDRESS": address.format(port=free_port())}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("chestseg: error: RAY_ADDRESS") and done.stderr.count("\n") == 1


def node(**changes: Any) -> dict[str, Any]:
    """What a whole node says of itself."""
    whole = {
        "python": "3.11.9", "ray": "2.60.0", "torch": "2.15.0", "chestseg": "0.1.0", "code": "c0de", "torch_gpus": 1,
        "memory": (64 << 30, 60 << 30), "disk": (100 << 30, 50 << 30), "scratch": (100 << 30, 50 << 30), "manifest": SHA,
        "server": "", "authentication": "token",
    }  # fmt: skip
    return whole | changes


GPU = {
    "name": "H", "total": 80 << 30, "free": 79 << 30, "processes": [], "ecc": 0, "rows_pending": False, "rows_failed": False, "slowed": [],
}  # fmt: skip


def seen(**changes: Any) -> Sight:
    """Two whole nodes with a GPU each."""
    sight = Sight(
        nodes={HERE: node(authentication=None), "a": node(), "b": node()},
        resources={name: {"CPU": 8.0, "GPU": 1.0} for name in "ab"},
        died=[],
        gpus={name: [GPU] for name in "ab"},
        ports={"a": [], "b": []},
        clocks={"a": (0.001, 0.002), "b": (0.4, 0.1)},
    )
    return dataclasses.replace(sight, **changes)


def findings(sight: Sight, need: Any = None) -> list[Check]:
    return [check for check in judge_nodes(sight, need) if check.state == "finding"]


def test_what_is_whole_has_no_finding() -> None:
    assert not findings(seen())


@pytest.mark.parametrize(
    ("changes", "where", "told"),
    [
        ({"nodes": {HERE: node(), "a": node(), "b": node(trouble="ImportError: libGL.so.1")}}, ("b",), "libGL.so.1"),
        ({"nodes": {HERE: node(), "a": node(ray="2.59.0"), "b": node()}}, ("a",), "ray 2.59.0, here 2.60.0"),
        ({"silent": {"c": "no answer within 5 s"}}, ("c",), "no answer within 5 s"),
        ({"died": ["d"]}, ("d",), "was lost"),
        ({"clocks": {"a": (5.0, 0.1), "b": (-3.0, 2.5)}}, ("a",), "5.0 s ahead of this machine's"),
        ({"gpus": {"a": "NVIDIA's driver can't be asked: Unknown Error", "b": [GPU]}}, ("a",), "can't be asked"),
        ({"gpus": {"a": [GPU], "b": []}}, ("b",), "Ray counts 1, NVIDIA's driver 0"),
        ({"nodes": {HERE: node(), "a": node(torch_gpus=0), "b": node()}}, ("a",), "PyTorch sees 0 of 1"),
        ({"gpus": {"a": [GPU | {"ecc": 3}], "b": [GPU]}}, ("a",), "3 uncorrected memory errors"),
        ({"gpus": {"a": [GPU | {"rows_pending": True}], "b": [GPU]}}, ("a",), "waits to be replaced"),
        ({"gpus": {"a": [GPU | {"rows_failed": True}], "b": [GPU]}}, ("a",), "could not be replaced"),
        ({"gpus": {"a": [GPU | {"slowed": ["heat"]}], "b": [GPU]}}, ("a",), "slowed down by heat"),
        ({"gpus": {"a": [GPU | {"free": 30 << 30, "processes": [7]}], "b": [GPU]}}, ("a",), "32.2 of 85.9 GB free (processes 7)"),
    ],
)
def test_what_is_wrong_with_a_node_is_one_finding_with_a_remedy(changes: dict[str, Any], where: tuple[str, ...], told: str) -> None:
    [finding] = findings(seen(**changes))
    assert finding.where == where and told in finding.told and finding.remedy


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"unwritten": {"a": "Permission denied"}}, "can't be written: Permission denied"),
        ({"unread": {"b": {"a": "No such file or directory"}}}, "can't read what a wrote: No such file or directory"),
        ({"nodes": {HERE: node(), "a": node(manifest="No such file or directory"), "b": node()}}, "No such file or directory"),
        ({"nodes": {HERE: node(), "a": node(manifest="b" * 64), "b": node()}}, "another than here"),
        ({"nodes": {HERE: node(manifest="No such file or directory"), "a": node(), "b": node()}}, "prepared.json: No such file"),
        ({"nodes": {HERE: node(), "a": node(server="timed out"), "b": node()}}, "http://mlflow:5000: timed out"),
        ({"mlflow": "tracking.uri http://mlflow:5000: MLflow can't be used there (refused): start it"}, "refused"),
    ],
)
def test_places_of_a_config_that_a_node_cannot_use(config: Path, changes: dict[str, Any], told: str) -> None:
    [finding] = findings(seen(**changes), need_of(str(config), ["tracking.uri=http://mlflow:5000"]))
    assert told in finding.told and finding.remedy


def test_the_cluster_has_no_room_no_memory_no_disk_and_no_token(config: Path) -> None:
    need = need_of(str(config), ["training.workers=2", "training.cpus_per_worker=8", "stages.0.micro_batch=2"])
    poor = node(memory=(4 << 30, 1 << 30), disk=(100 << 30, 1 << 30), authentication="disabled")
    gcs = {"program": "Ray", "address": "0.0.0.0", "port": 6379, "answers": None}
    sight = seen(nodes={HERE: node(authentication=None), "a": poor, "b": node(authentication=None)}, ports={"a": [gcs], "b": []})
    sight.resources = {"a": {"CPU": 8.0}, "b": {"CPU": 4.0}}
    told = {check.check: check for check in judge_cluster(sight, dataclasses.replace(need, disk=1 << 60)) if check.state == "finding"}
    assert set(told) == {"room", "memory", "plan", "disk", "token", "ports"}
    assert told["room"].told == "2 workers: 16 of 12 CPU" and told["memory"].where == ("a",) and told["ports"].told == "Ray on 0.0.0.0:6379"


def planned_of(config: Path, tmp_path: Path, **resources: float) -> dict[str, Check]:
    """What the doctor says of a sweep over `config` on the nodes a and b, of `resources` each."""
    sweep = {
        "name": "judged", "base": str(config), "trials": 4, "budget": {"per_trial": 1e10}, "storage": str(tmp_path),
        "space": {"stages": 1, "sizes": [32], "lr": {"low": 1e-4, "high": 1e-2}},
        "set": ["training.gpu='yes'", "training.cpus_per_worker=8"],
    }  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep))
    sight = seen(resources={"a": resources, "b": resources})
    return {check.check: check for check in judge_cluster(sight, need_of(str(path), []))}


def test_a_sweep_that_no_node_holds_is_a_finding_unless_nodes_may_come(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = planned_of(config, tmp_path, CPU=4.0, GPU=1.0)
    assert (told["plan"].state, told["room"].state) == ("finding", "finding")
    assert "on 2 nodes, which hold 0 such workers" in told["plan"].told
    assert told["room"].told == "1 worker: 8 of 8 CPU, 1 of 2 GPU, but the nodes, each by itself, hold 0"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    told = planned_of(config, tmp_path, CPU=16.0)
    assert (told["plan"].state, told["room"].state) == ("note", "note")
    assert "the sweep waits for nodes" in told["plan"].told and told["plan"].remedy
    assert planned_of(config, tmp_path, CPU=8.0, GPU=1.0)["plan"].state == "ok"


PORTS = [
    ("Ray's dashboard", 401, "ok"), ("Ray's dashboard", 200, "finding"), ("Ray's metrics", 200, "note"), ("Ray", None, "ok"),
    ("MLflow", 200, "finding"), ("MLflow", 401, "ok"), ("MLflow", 403, "ok"), ("Ray Serve", 404, "note"), ("Ray Serve", 200, "finding"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "answers", "state"), PORTS)
def test_a_port_beyond_loopback_is_judged_by_what_it_answers_without_a_token(program: str, answers: int | None, state: str) -> None:
    listener = {"program": program, "address": "10.0.0.1", "port": 1, "answers": answers}
    [check] = [check for check in judge_cluster(seen(ports={"a": [listener]}), None) if check.check == "ports"]
    assert check.state == state


def test_files_that_are_not_shared_are_missed(tmp_path: Path) -> None:
    shared, own = str(tmp_path / "shared"), str(tmp_path / "own")
    assert not doctor_node.write_mark(shared, "0.txt", "x")
    assert doctor_node.read_marks(shared, {"0.txt": "x"}) == {}
    assert doctor_node.read_marks(shared, {"0.txt": "y"}) == {"0.txt": "it reads other bytes than were written"}
    assert "No such file" in doctor_node.read_marks(own, {"0.txt": "x"})["0.txt"]
    assert "No such file" in doctor_node.write_mark(f"{own}/deeper", "0.txt", "x")
    doctor_node.remove_marks(shared)
    assert not list(tmp_path.iterdir())


def test_nodes_reach_a_server_of_mlflow(tmp_path: Path) -> None:
    with mlflow_server(tmp_path) as server:
        assert doctor_node.reached(server.uri) == ""
    assert re.search("refused|reset", doctor_node.reached(server.uri)), "reset: it came to a server that was just ending"


def test_the_plan_counts_activations_by_micro_batch(config: Path) -> None:
    whole, half = (need_of(str(config), [f"stages.0.micro_batch={size}"]) for size in (4, 2))
    assert half.learning < whole.learning < 2 * half.learning
    assert whole.main_memory(on_gpu=False) - whole.main_memory(on_gpu=True) == whole.learning


def test_a_line_reads_without_colour() -> None:
    told = lines(Check("clock", ("a", "b"), "finding", "5.0 s ahead", "let NTP set it"))
    assert told == ["FINDING clock     a, b: 5.0 s ahead", "                  -> let NTP set it"]
