"""Prepare: Ray Data decodes the shards in parallel, once. What comes before and after needs no Ray: `chestseg.data.preparation`."""

import pickle
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import ray.data
from tqdm import tqdm

from chestseg.config import Data
from chestseg.data.preparation import Preparation, plan, publish, withdraw
from chestseg.data.report import PrepareReport
from chestseg.data.shards import Shard, write_shard
from chestseg.distributed.cluster import attach
from chestseg.distributed.data_tasks import quiet, task_memory


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def prepare(data: Data, *, report: Callable[[str], None] = _to_stderr) -> PrepareReport:
    """Decode the sources into the prepared dataset `data.prepared`, on the cluster `attach` finds or starts where there is work.

    Finished shards of an interrupted preparation are kept. Equal sources and settings give equal bytes, however many processes
    work and whether or not the work was interrupted. A progress bar goes to standard error.

    Args:
        data: sources, sizes or spacings, and split.
        report: is told in one line what there is to do, before it is done.

    Raises:
        ValueError: one line that names the file or key and the remedy; nothing new is then published.
    """
    preparation = plan(data)
    report(preparation.summary)
    if preparation.pending:
        withdraw(preparation.folder)
        with attach():
            _decode(preparation)
    return publish(preparation)


def _decode(preparation: Preparation) -> None:
    finished = preparation.cases - sum(len(shard.cases) for shard in preparation.pending)
    with quiet(), tqdm(total=preparation.cases, initial=finished, desc="prepare", unit=" cases", file=sys.stderr) as bar:
        for row in _written(preparation.pending, preparation.folder):
            if row["error"]:
                raise ValueError(f"{row['error']}: make room or correct the folder and prepare again, finished shards are kept")
            bar.update(row["cases"])


def _written(shards: list[Shard], prepared: Path) -> Iterable[dict[str, Any]]:
    """Write the shards on the cluster, a task each; what `_write` says of each comes when it is done."""
    rows = [{"shard": pickle.dumps(shard)} for shard in shards]
    tasks = ray.data.from_items(rows, override_num_blocks=len(rows))
    return tasks.map(partial(_write, prepared=prepared), num_cpus=1, memory=task_memory(shards[0].kind.memory)).iter_rows()


def _write(row: dict[str, Any], prepared: Path) -> dict[str, Any]:
    """The task: the pixels go to the disk, and only two small values return."""
    cv2.setNumThreads(1)
    shard: Shard = pickle.loads(row["shard"])
    try:
        write_shard(shard, prepared)
    except OSError as error:
        return {"cases": 0, "error": str(error)}
    return {"cases": len(shard.cases), "error": ""}
