"""One way onto Ray: the cluster of a submitted job, the one RAY_ADDRESS names, or a private one on this machine."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants
from ray.exceptions import RayTaskError

import chestseg
from chestseg.config.location import is_uri
from chestseg.models.allocator import ENVIRONMENT

SOURCE_ROOT = Path(chestseg.__file__).parent.parent
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the process of a submitted job, whose runtime environment holds already."""


@contextlib.contextmanager
def attach(num_cpus: int | None = None) -> Iterator[None]:
    """Connect this process to Ray for the block, and end afterwards what the block began and nothing more.

    A process that is connected already stays so. Inside a submitted job, and where RAY_ADDRESS is set, that cluster is joined. Else
    a private cluster starts on loopback, token required, and stops with the block.

    Args:
        num_cpus: logical CPUs of a private cluster, all of the machine's when None; a joined cluster has its own.

    Raises:
        ValueError: RAY_ADDRESS is a dashboard's; or a remote task raised it, and it is passed on as it was there.
    """
    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            stack.callback(ray.shutdown)
            if "RAY_ADDRESS" in os.environ:
                _join(os.environ["RAY_ADDRESS"])
            else:
                stack.enter_context(_loopback())
                ray.init(address="local", num_cpus=num_cpus, dashboard_host="127.0.0.1", logging_level=logging.ERROR)
        try:
            yield
        except RayTaskError as error:
            if isinstance(error.cause, ValueError):
                raise error.cause from None
            raise


def may_grow() -> bool:
    """Whether the attached cluster is somebody's own, whose autoscaler may add nodes, and not a private one on this machine."""
    return SUBMITTED in os.environ or "RAY_ADDRESS" in os.environ


def require_shared(*paths: str) -> None:
    """Refuse relative paths in a submitted job: they lie in its temporary copy of the code and go with it.

    Raises:
        ValueError: names the first such path.
    """
    for path in paths:
        if SUBMITTED in os.environ and not is_uri(path) and not Path(path).is_absolute():
            raise ValueError(f"{path}: a relative path in a submitted job would vanish with it: give an absolute one that all nodes share")


def _join(address: str) -> None:
    if address.startswith("http"):
        raise ValueError(
            f"RAY_ADDRESS {address} is a dashboard: submit the job to it with `ray job submit`, or unset RAY_ADDRESS to run on this machine"
        )
    environment = {} if SUBMITTED in os.environ else {"env_vars": ENVIRONMENT | {"PYTHONPATH": str(SOURCE_ROOT)}}
    ray.init(address=address, runtime_env=environment, logging_level=logging.ERROR)


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Settings under which a cluster that starts here listens on loopback only and its workers find this very chestseg.

    Ray reads the switch for loopback when it is imported: the environment reaches the processes it starts, the constant this one.
    """
    search_path = os.pathsep.join(filter(None, [str(SOURCE_ROOT), os.environ.get("PYTHONPATH")]))
    settings = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": search_path} | ENVIRONMENT
    before = {name: os.environ.get(name) for name in settings}
    across_nodes = ray_constants.ENABLE_RAY_CLUSTER
    os.environ |= settings
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = across_nodes
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
