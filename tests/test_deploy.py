"""The manifests fit Kubernetes' and KubeRay's schemas, and agree with each other, with the image and with the commands they run."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import jsonschema
import kubernetes_validate
import pytest
import sqlalchemy as sa
import yaml
from mlflow.cli import server

from chestseg import __version__
from chestseg.cli.parser import build_parser
from chestseg.config import load_experiment
from chestseg.config.serving import CtServing
from chestseg.config.sweep import load_sweep
from chestseg.distributed import notice_watch
from tests import deployed

ROOT = Path(__file__).parent.parent
HOME = "/home/ray/chestseg/"
OURS = "registry.example/chestseg:"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
CONSTRAINTS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
README = (ROOT / "deploy" / "README.md").read_text()
pods = pytest.mark.parametrize("pod", deployed.PODS, ids=lambda pod: pod.name)


@pytest.mark.parametrize("manifest", deployed.CORE, ids=deployed.name_of)
def test_kubernetes_knows_every_key(manifest):
    kubernetes_validate.validate(manifest, "1.31", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError, match="spek"):
        kubernetes_validate.validate(manifest | {"spek": {}}, "1.31", strict=True)


def kuberay_schema(manifest):
    path = deployed.SCHEMAS / f"ray.io_{manifest['kind'].lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"no {path}: set CHESTSEG_SCHEMAS to the folder that holds kuberay/ with its custom resource definitions")
    versions = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    return next(version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1")


@pytest.mark.parametrize("manifest", deployed.RAY, ids=deployed.name_of)
def test_kuberay_knows_every_key(manifest):
    schema = jsonschema.Draft7Validator(deployed.closed(kuberay_schema(manifest)))
    schema.validate(manifest)
    with pytest.raises(jsonschema.ValidationError, match="suspended"):
        schema.validate(manifest | {"spec": manifest["spec"] | {"suspended": True}})


@pytest.mark.parametrize("pod", [pod for pod in deployed.PODS if pod.name.startswith("Ray")], ids=lambda pod: pod.name)
def test_kubernetes_knows_every_key_of_rays_pods(pod):
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name.lower(), "labels": pod.labels}, "spec": pod.spec}
    kubernetes_validate.validate(manifest, "1.31", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest | {"spec": pod.spec | {"unknown": 1}}, "1.31", strict=True)


def test_everything_is_there_once_and_in_the_namespace():
    names = [deployed.name_of(manifest) for manifest in deployed.MANIFESTS]
    assert len(names) == len(set(names))
    assert {"RayJob-train", "RayJob-tune", "RayService-serve", "Deployment-mlflow", "StatefulSet-postgres"} <= set(names)
    [namespace] = deployed.of_kind("Namespace")
    others = [manifest for manifest in deployed.MANIFESTS if manifest is not namespace]
    assert {manifest["metadata"]["namespace"] for manifest in others} == {namespace["metadata"]["name"]}


@pods
def test_no_pod_is_root_or_may_become_it(pod):
    assert pod.spec["securityContext"]["runAsNonRoot"] is True
    assert pod.spec["securityContext"]["runAsUser"] > 0
    assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod.containers:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pods
def test_every_container_says_what_it_needs_and_at_most_gets(pod):
    for container in pod.containers:
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(requests) and set(requests) <= set(limits)
        assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")


@pods
def test_images_are_pinned_and_ours_is_of_this_version(pod):
    for container in pod.containers:
        tag = container["image"].rpartition(":")[2]
        assert re.match(r"\d+\.\d+", tag), container["image"]
        if container["image"].startswith(OURS):
            on_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
            assert tag == f"{__version__}-{'gpu' if on_gpu else 'cpu'}"
        else:
            assert not container["image"].startswith("registry.example"), container["image"]


def test_the_image_is_pinned_to_the_versions_tested_and_not_root():
    [base] = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    assert base == f"rayproject/ray:{CONSTRAINTS['ray']}-py311-${{VARIANT}}"
    users = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert users and set(users) == {"1000"} and DOCKERFILE.rstrip().splitlines()[-1].startswith("USER 1000")
    installs = [line for line in DOCKERFILE.splitlines() if "pip install" in line]
    assert all("--constraint constraints.txt" in line or "--no-deps" in line for line in installs)
    assert re.findall(rf"{OURS}(\S+)", DOCKERFILE) == [f"{__version__}-gpu", f"{__version__}-cpu"]


def build_context():
    return [line for line in (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines() if line and not line.startswith("#")]


def kept_of_the_build():
    return {line[1:] for line in build_context() if line.startswith("!")}


def test_the_build_sees_the_code_and_nothing_else():
    kept = build_context()
    assert kept[0] == "*"
    copied = re.findall(r"^COPY --chown=1000:100 (.+) \S+$", DOCKERFILE, re.MULTILINE)
    for name in " ".join(copied).split():
        assert name == "." or f"!{name.split('/')[0]}" in kept


@pytest.mark.parametrize("manifest", deployed.RAY, ids=deployed.name_of)
def test_rays_nodes_ask_for_the_token_and_are_of_one_version(manifest):
    cluster = deployed.ray_cluster(manifest)
    assert cluster["rayVersion"] == CONSTRAINTS["ray"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    assert all(group["minReplicas"] < group["maxReplicas"] for group in cluster["workerGroupSpecs"])


@pytest.mark.parametrize("manifest", deployed.RAY, ids=deployed.name_of)
def test_a_worker_that_is_to_go_has_the_time_to_leave(manifest):
    for group in deployed.ray_cluster(manifest)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:3] == ["python", "-m", notice_watch.__name__] and command[3] == "--leave"
        assert int(command[4]) < pod["terminationGracePeriodSeconds"]


def prepare_job():
    """The manifest that the README makes of train's."""
    [edit] = re.findall(r"sed ('.+') deploy/train.yaml", README)
    assert f"sed {edit} deploy/train.yaml" in (ROOT / "deploy" / "train.yaml").read_text()
    return yaml.safe_load(
        subprocess.run(["sed", *shlex.split(edit), ROOT / "deploy" / "train.yaml"], capture_output=True, check=True).stdout
    )


@pytest.mark.parametrize("manifest", [*deployed.of_kind("RayJob"), prepare_job()], ids=deployed.name_of)
def test_a_job_runs_a_command_of_this_project_that_its_nodes_can_hold(manifest):
    python, script, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    job = ROOT / script.removeprefix(HOME)
    assert (python, job.stem) == ("python", manifest["metadata"]["name"]) and script.startswith(HOME) and job.is_file()
    told = build_parser().parse_args([job.stem, *(argument.removeprefix(HOME) for argument in arguments)])
    if told.command == "tune":
        sweep = load_sweep(ROOT / told.config_path, told.overrides)
        experiment, folders = sweep.experiment, [sweep.storage]
    else:
        experiment = load_experiment(ROOT / told.config_path, told.overrides)
        folders = [experiment.storage, experiment.data.sources[0].path]
    assert all(folder.startswith("/shared/") for folder in [*folders, experiment.data.prepared])
    assert experiment.tracking.uri == service_address("mlflow")
    [group] = deployed.ray_cluster(manifest)["workerGroupSpecs"]
    assert experiment.training.gpu == "yes" and experiment.training.workers <= group["maxReplicas"]
    assert experiment.training.cpus_per_worker <= int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])


def service_address(name):
    [port] = [service["spec"]["ports"][0]["port"] for service in deployed.of_kind("Service") if service["metadata"]["name"] == name]
    return f"http://{name}:{port}"


def test_serve_runs_both_apps_where_the_ingress_finds_them():
    [service] = deployed.of_kind("RayService")
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert {app["import_path"]: app["route_prefix"] for app in config["applications"]} == {
        "serve_apps.cxr:app": "/cxr",
        "serve_apps.ct:app": "/ct",
    }
    port = config["http_options"]["port"]
    answering = [pod for pod in deployed.PODS if pod.name.startswith("RayService")]
    assert answering and all(port in pod.ports for pod in answering)


def test_the_image_has_the_apps_on_its_path():
    [path] = re.findall(r"^ENV PYTHONPATH=(\S+)", DOCKERFILE, re.MULTILINE)
    assert f"WORKDIR {path}\n" in DOCKERFILE and "COPY --chown=1000:100 . .\n" in DOCKERFILE
    [service] = deployed.of_kind("RayService")
    modules = [app["import_path"].partition(":")[0] for app in yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]]
    assert all((ROOT / f"{module.replace('.', '/')}.py").is_file() for module in modules)
    assert {module.partition(".")[0] for module in modules} <= kept_of_the_build()


def test_jobs_of_volumes_are_where_every_node_finds_them():
    [service] = deployed.of_kind("RayService")
    apps = {app["name"]: app["args"] for app in yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]}
    jobs = CtServing.model_validate(apps["ct"]).jobs
    store = sa.make_url(jobs.store)
    assert (store.drivername, store.password) == ("postgresql+psycopg2", None)
    assert store.host in {made["metadata"]["name"] for made in deployed.of_kind("Service")}
    for pod in (pod for pod in deployed.PODS if pod.name.startswith("RayService")):
        [container] = pod.containers
        assert any(jobs.folder.startswith(f"{mount['mountPath']}/") for mount in container["volumeMounts"] if mount["name"] == "shared")
        assert [one["name"] for one in container["env"] if "valueFrom" in one] == ["PGPASSWORD"]
        assert allowed("Egress", pod, pod_named("StatefulSet-postgres"), store.port)
        assert allowed("Ingress", pod_named("StatefulSet-postgres"), pod, store.port)
    [script] = [made["data"]["jobs.sh"] for made in deployed.of_kind("ConfigMap")]
    assert f"CREATE ROLE {store.username} " in script and f"CREATE DATABASE {store.database} OWNER {store.username};" in script


def selects(selector, labels):
    return selector.get("matchLabels", {}).items() <= labels.items()


@pytest.mark.parametrize("service", deployed.of_kind("Service"), ids=deployed.name_of)
def test_a_service_finds_pods_that_listen(service):
    found = [pod for pod in deployed.PODS if service["spec"]["selector"].items() <= pod.labels.items()]
    assert len(found) == 1
    names = {port["name"]: port["containerPort"] for container in found[0].containers for port in container.get("ports", [])}
    assert all(names[port["targetPort"]] == port["port"] for port in service["spec"]["ports"])


def test_sets_select_their_own_pods():
    for manifest in [*deployed.of_kind("Deployment"), *deployed.of_kind("StatefulSet")]:
        assert selects(manifest["spec"]["selector"], manifest["spec"]["template"]["metadata"]["labels"])
        if manifest["kind"] == "StatefulSet":
            assert f"Service-{manifest['spec']['serviceName']}" in map(deployed.name_of, deployed.MANIFESTS)


def rules(direction):
    """Policy, ports or None for all, and the selector of the pods on the other side, one for each peer in this namespace."""
    for policy in deployed.of_kind("NetworkPolicy"):
        for rule in policy["spec"].get(direction.lower(), []):
            for peer in rule["from" if direction == "Ingress" else "to"]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    yield policy, {port["port"] for port in rule.get("ports", [])} or None, peer["podSelector"]


@pytest.mark.parametrize("policy", deployed.of_kind("NetworkPolicy"), ids=deployed.name_of)
def test_a_policy_concerns_pods_that_exist(policy):
    assert [pod for pod in deployed.PODS if selects(policy["spec"]["podSelector"], pod.labels)]
    assert set(policy["spec"]) & {"ingress", "egress"} <= {kind.lower() for kind in policy["spec"]["policyTypes"]}


@pytest.mark.parametrize("direction", ["Ingress", "Egress"])
def test_a_policys_peers_exist_and_listen(direction):
    for policy, ports, peer in rules(direction):
        own = [pod for pod in deployed.PODS if selects(policy["spec"]["podSelector"], pod.labels)]
        others = [pod for pod in deployed.PODS if selects(peer, pod.labels)]
        assert own and others, deployed.name_of(policy)
        listening = own if direction == "Ingress" else others
        assert not ports or all(ports <= pod.ports for pod in listening), deployed.name_of(policy)


CALLS = [("RayJob-train-ray-head", 5000, "Deployment-mlflow"), ("RayJob-tune-ray-worker", 5000, "Deployment-mlflow"),
         ("RayService-serve-ray-worker", 5000, "Deployment-mlflow"), ("Deployment-mlflow-mlflow", 5432, "StatefulSet-postgres"),
         ("Deployment-mlflow-mlflow", 8333, "StatefulSet-object-store")]  # fmt: skip


def allowed(direction, here, there, port):
    return any(
        selects(policy["spec"]["podSelector"], here.labels) and selects(peer, there.labels) and (ports is None or port in ports)
        for policy, ports, peer in rules(direction)
    )


def pod_named(start):
    [pod] = [pod for pod in deployed.PODS if pod.name.startswith(start)]
    return pod


@pytest.mark.parametrize(("caller", "port", "called"), CALLS)
def test_what_must_talk_may(caller, port, called):
    caller, called = pod_named(caller), pod_named(called)
    assert allowed("Egress", caller, called, port) and allowed("Ingress", called, caller, port)


def test_nothing_else_may():
    assert not allowed("Egress", pod_named("RayJob-train-ray-head"), pod_named("StatefulSet-postgres"), 5432)
    assert not allowed("Ingress", pod_named("StatefulSet-postgres"), pod_named("RayJob-train-ray-head"), 5432)
    assert not allowed("Ingress", pod_named("Deployment-mlflow"), pod_named("StatefulSet-postgres"), 5000)
    [closed] = [
        policy for policy in deployed.of_kind("NetworkPolicy") if policy["spec"]["podSelector"] == {} and "egress" not in policy["spec"]
    ]
    assert closed["spec"]["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in closed["spec"]


def secrets_used():
    """Name and key, or None for all keys, of each Secret that a pod takes."""
    for pod in deployed.PODS:
        for volume in pod.spec.get("volumes", []):
            if "secret" in volume:
                yield from ((volume["secret"]["secretName"], item["key"]) for item in volume["secret"].get("items", [{"key": None}]))
        for container in pod.containers:
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    yield reference["name"], reference["key"]


def test_the_readme_tells_how_to_make_every_secret():
    made = {found[0]: found[1] for found in re.findall(r"create secret generic (\S+)((?:.*\\\n)*.*)", README)}
    for name, key in set(secrets_used()):
        assert name in made
        assert key is None or re.search(rf"--from-(?:literal|file)={re.escape(key)}=", made[name])


def test_mlflow_knows_its_servers_options_and_is_called_by_a_name_it_answers_to():
    [container] = pod_named("Deployment-mlflow").spec["containers"]
    program, subcommand, *options = container["command"]
    assert (program, subcommand) == ("mlflow", "server")
    told, _, _ = server.make_parser(click.Context(server)).parse_args(options)
    assert service_address("mlflow").removeprefix("http://") in told["allowed_hosts"].split(",")
    assert int(told["port"]) in {port["containerPort"] for port in container["ports"]}


def test_what_pods_mount_is_declared():
    claims = {claim["metadata"]["name"] for claim in deployed.of_kind("PersistentVolumeClaim")}
    for manifest in deployed.of_kind("StatefulSet"):
        claims |= {claim["metadata"]["name"] for claim in manifest["spec"]["volumeClaimTemplates"]}
    for pod in deployed.PODS:
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        assert {
            volume["persistentVolumeClaim"]["claimName"] for volume in pod.spec.get("volumes", []) if "persistentVolumeClaim" in volume
        } <= claims
        for container in pod.containers:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes | claims


SECRET_NAME = re.compile(r"password|secret|token|access_?key|credential", re.IGNORECASE)


def test_no_file_holds_a_secret():
    assert not deployed.of_kind("Secret")
    for pod in deployed.PODS:
        for container in pod.containers:
            for variable in container.get("env", []):
                assert not SECRET_NAME.search(variable["name"]) or "value" not in variable, variable["name"]
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z", "deploy", "cluster.yaml"], cwd=ROOT, capture_output=True, text=True
    )
    names = [name for name in listing.stdout.split("\0") if name]
    for path in [ROOT / name for name in names] or [*(ROOT / "deploy").iterdir(), ROOT / "cluster.yaml"]:
        assert not deployed.LOOKS_SECRET.search(path.read_text()), path


@pytest.mark.parametrize("text", ["AKIA" + "A" * 16, "postgresql://mlflow:hunter2@postgres/x", "token: " + "0123456789abcdef" * 2])
def test_a_secret_would_be_seen(text):
    assert deployed.LOOKS_SECRET.search(text)
