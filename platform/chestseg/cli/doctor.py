"""`chestseg doctor`: before a job, whether this machine, the cluster and each of its nodes are fit for it."""

import contextlib
import json
import os
import socket
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from chestseg import __version__
from chestseg.cli.train import ROOM
from chestseg.config import load_experiment
from chestseg.config.load import read_tree
from chestseg.config.sweep import load_sweep
from chestseg.distributed.cluster import attach, require_shared
from chestseg.distributed.doctor import HERE, look_around
from chestseg.distributed.doctor_check import Check
from chestseg.distributed.doctor_cluster import judge_cluster
from chestseg.distributed.doctor_judge import judge_nodes
from chestseg.distributed.doctor_need import Need
from chestseg.tuning.flops import weight_bytes

FINDINGS = 1
HEAD_ANSWERS_WITHIN = 5.0
"""Seconds; Ray itself would try for minutes."""
MISMATCH = "Version mismatch"
"""How Ray begins to say that it does not join a cluster of another Python or Ray."""
WIDTH = 120


def run(config_path: str | None = None, overrides: Sequence[str] = (), as_json: bool = False, timeout: float = 120) -> int:
    """Look, and print a line for each check; 0 where all is well, 1 where something is to be mended.

    Raises:
        ValueError: the config is wrong or the cluster can't be looked at.
    """
    need = need_of(config_path, overrides) if config_path else None
    require_head()
    try:
        with contextlib.redirect_stdout(sys.stderr), attach():  # Ray tells of lost nodes on standard output
            sight = look_around(need, timeout)
            checks = [*judge_nodes(sight, need), *judge_cluster(sight, need)]
    except ConnectionError as error:
        raise ValueError(f"RAY_ADDRESS {os.environ.get('RAY_ADDRESS')}: no cluster can be joined there: start it, or unset it") from error
    except RuntimeError as error:
        if not str(error).startswith(MISMATCH):
            raise
        checks = [
            Check("versions", (HERE,), "finding", " ".join(str(error).split()), "use the cluster's Python and Ray here, or ours there")
        ]
    findings = sum(check.state == "finding" for check in checks)
    if as_json:
        told = {"chestseg": __version__, "config": config_path, "findings": findings, "checks": [asdict(check) for check in checks]}
        print(json.dumps(told, indent=1))
    else:
        print("\n".join(line for check in checks for line in lines(check)))
        print(f"{findings} finding{'s' * (findings != 1)}" if findings else "fit")
    return FINDINGS if findings else 0


def need_of(config_path: str, overrides: Sequence[str]) -> Need:
    """What an experiment or a sweep asks of a cluster.

    Raises:
        ValueError: it can't be read, or names paths that a submitted job would lose.
    """
    if "base" in read_tree(config_path, overrides, "an experiment"):
        sweep = load_sweep(config_path, overrides)
        require_shared(sweep.experiment.data.prepared, sweep.storage)
        return Need(sweep.experiment, sweep=sweep)
    experiment = load_experiment(config_path, overrides)
    require_shared(experiment.data.prepared, experiment.storage)
    return Need(experiment, ROOM * weight_bytes(experiment.model))


def require_head() -> None:
    """Refuse an address where nobody listens.

    Raises:
        ValueError: names it and the remedy.
    """
    host, _, port = os.environ.get("RAY_ADDRESS", "").rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), HEAD_ANSWERS_WITHIN).close()
    except OSError as error:
        raise ValueError(f"RAY_ADDRESS {host}:{port}: nobody listens there ({error}): start the cluster, or unset RAY_ADDRESS") from error


def lines(check: Check) -> list[str]:
    """A check as text of three columns, to be read without colour, the remedy of a finding below it."""
    state = check.state.upper() if check.state == "finding" else check.state
    where = f"{', '.join(check.where)}: " if check.where else ""
    indent = " " * 18
    told = textwrap.wrap(f"{where}{check.told}", WIDTH, initial_indent=f"{state:8}{check.check:10}", subsequent_indent=indent)
    return told + textwrap.wrap(
        f"-> {check.remedy}" if check.remedy else "", WIDTH, initial_indent=indent, subsequent_indent=indent + "   "
    )
