"""Tells Ray that this node is to go, when its cloud says so: `python -m chestseg.distributed.notice_watch`, on the node itself.

It looks at the cloud's metadata service every few seconds, drains its own node once, and ends. With `--leave` it drains at once and stays
until what works here has left: for Kubernetes' `preStop`. It runs on every node, so it needs the standard library and Ray's command only.

AWS: `spot/instance-action` by IMDSv2 (EC2 User Guide, "Spot Instance interruption notices"). GCP: `instance/preempted` (Compute Engine,
"Handle preemption with a shutdown script").
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

METADATA = "http://169.254.169.254"
EVERY_S = 5.0
ANSWERS_WITHIN_S = 2.0
RAY_ANSWERS_WITHIN_S = 60.0
"""It joins the cluster for a moment, by which it learns which node this is."""
GCP_SECONDS = 30
"""Between GCP's notice and the end."""
TOKEN_S = 300
WORKING = (b"ray::RayTrainWorker", b"ray::ServeReplica")
"""How processes are called that leave a node which is drained."""
RAY = (sys.executable, "-m", "ray.scripts.scripts")

LOG = logging.getLogger("chestseg.notice")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands before a machine's own metadata

Look = Callable[[], int | None]


def aws_notice(metadata: str = METADATA) -> int | None:
    """Seconds until AWS takes this spot machine away; None while it does not say so.

    Raises:
        OSError: the service does not answer.
    """
    lasting = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
    token = _ask(f"{metadata}/latest/api/token", lasting, "PUT")
    said = _ask(f"{metadata}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token or ""})
    if said is None:
        return None
    end = datetime.fromisoformat(json.loads(said)["time"])
    return max(0, int((end - datetime.now(UTC)).total_seconds()))


def gcp_notice(metadata: str = METADATA) -> int | None:
    """The same of GCP."""
    said = _ask(f"{metadata}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return GCP_SECONDS if said == "TRUE" else None


CLOUDS = {"aws": aws_notice, "gcp": gcp_notice}


def watch(look: Look, drain: Callable[[int], bool], every_s: float = EVERY_S) -> None:
    """Look until there is a notice, and drain until Ray takes it."""
    away = False
    while True:
        try:
            seconds = look()
            away = False
        except (OSError, ValueError, KeyError) as error:
            if not away:
                LOG.warning("the metadata service did not answer (%s); asked again", error)
            seconds, away = None, True
        if seconds is not None and drain(seconds):
            return
        time.sleep(every_s)


def drain_own_node(address: str, seconds: int) -> bool:
    """Tell Ray, which knows which node this process is on, that it goes in so many seconds; whether Ray took it."""
    reason = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "notice of the machine's end")
    command = [*RAY, "drain-node", "--address", address, *reason, "--deadline-remaining-seconds", str(seconds)]
    env = {**os.environ, "RAY_ADDRESS": address}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=RAY_ANSWERS_WITHIN_S)
    except subprocess.TimeoutExpired:
        LOG.warning("ray drain-node: no answer for %.0f s", RAY_ANSWERS_WITHIN_S)
        return False
    if done.returncode:
        LOG.warning("ray drain-node: %s", (done.stderr.strip().splitlines() or ["no word"])[-1])
    else:
        LOG.warning("this node goes in %d s: Ray was told", seconds)
    return not done.returncode


def leave(drain: Callable[[int], bool], seconds: int, working: Callable[[], bool], every_s: float = 1.0) -> None:
    """Drain, and return when nothing works here any more, at the latest after so many seconds."""
    deadline = time.monotonic() + seconds
    if not working():
        return
    drain(seconds)
    while working() and time.monotonic() < deadline:
        time.sleep(every_s)


def works_here(processes: Path = Path("/proc")) -> bool:
    """Whether a worker of Ray Train or a replica of Ray Serve runs on this machine, or in this pod."""
    for line in processes.glob("[0-9]*/cmdline"):
        try:
            if line.read_bytes().startswith(WORKING):
                return True
        except OSError:  # it has ended
            continue
    return False


def _ask(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with OPENER.open(request, timeout=ANSWERS_WITHIN_S) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise


def main(arguments: list[str] | None = None) -> int:
    """Watch, or leave; 0 when Ray was told or nothing worked here."""
    parser = argparse.ArgumentParser(prog="python -m chestseg.distributed.notice_watch", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS"), metavar="HOST:PORT", help="of the head (default: RAY_ADDRESS)")
    parser.add_argument("--cloud", choices=CLOUDS, default="aws")
    parser.add_argument("--leave", type=int, metavar="SECONDS", help="this node goes now: drain it and wait so long at most")
    given = parser.parse_args(arguments)
    if not given.address:
        parser.error("no address: give --address HOST:PORT of the head, or set RAY_ADDRESS")
    logging.basicConfig(format="%(asctime)s %(message)s")

    def drain(seconds: int) -> bool:
        return drain_own_node(given.address, seconds)

    if given.leave is None:
        watch(CLOUDS[given.cloud], drain)
    else:
        leave(drain, given.leave, works_here)
    return 0


if __name__ == "__main__":
    sys.exit(main())
