"""Prepare: Ray Data decodes the shards in parallel, once. What comes before and after needs no Ray: `chestseg.data.preparation`."""

import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import ray.data
from tqdm import tqdm

from chestseg.config import Data
from chestseg.config.location import absolute, inside, is_uri
from chestseg.data.preparation import Preparation, plan, publish, withdraw
from chestseg.data.prepared import shard_folder
from chestseg.data.report import PrepareReport
from chestseg.data.shards import Shard, write_shard
from chestseg.distributed.cluster import attach
from chestseg.distributed.data_tasks import quiet, task_memory
from chestseg.storage.copies import current_copy, put_folder, scratch
from chestseg.storage.objects import StorageError
from chestseg.storage.working_copy import working_copy


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
    if is_uri(data.prepared):
        return _prepare_in_bucket(data, report)
    preparation = plan(data)
    report(preparation.summary)
    if preparation.pending:
        withdraw(preparation.folder)
        with attach():
            _decode(preparation, data.prepared)
    return publish(preparation)


def _prepare_in_bucket(data: Data, report: Callable[[str], None]) -> PrepareReport:
    """As `prepare`; pixels go from the tasks to the bucket, and only what shards say of themselves comes here."""
    with working_copy(data.prepared, "prepare", wait=False) as copy:
        copy.fetch(_is_said)
        preparation = plan(data, copy.folder)
        report(preparation.summary)
        if preparation.pending:
            withdraw(copy.folder)
            copy.send()
            with attach():
                _decode(preparation, data.prepared)
            copy.fetch(_is_said)
        published = publish(preparation)
        wanted = {shard_folder(Path(), shard.index).as_posix() for shard in preparation.shards}
        strays = [name for name in copy.objects.list("shards") if name.rpartition("/")[0] not in wanted]
        copy.objects.delete(strays)
        copy.send()
        return published


def _is_said(name: str) -> bool:
    """Whether an object tells of a shard's cases, or of the whole; the others are pixels."""
    return name.rpartition("/")[2] in ("done.json", "rows.parquet") or not name.startswith("shards/")


def _decode(preparation: Preparation, prepared: str) -> None:
    finished = preparation.cases - sum(len(shard.cases) for shard in preparation.pending)
    with quiet(), tqdm(total=preparation.cases, initial=finished, desc="prepare", unit=" cases", file=sys.stderr) as bar:
        for row in _written(preparation, prepared):
            if row["error"]:
                raise ValueError(f"{row['error']}: make room or correct the folder and prepare again, finished shards are kept")
            bar.update(row["cases"])


def _written(preparation: Preparation, prepared: str) -> Iterable[dict[str, Any]]:
    """Write the shards on the cluster, a task each; what `_write` says of each comes when it is done."""
    shards = preparation.pending
    rows = [{"shard": pickle.dumps(shard)} for shard in shards]
    sources = tuple(source.path for source in preparation.data.sources if is_uri(source.path))
    write = partial(_write, prepared=absolute(prepared), sources=sources, start=time.time_ns())
    tasks = ray.data.from_items(rows, override_num_blocks=len(rows))
    return tasks.map(write, num_cpus=1, memory=task_memory(shards[0].kind.memory)).iter_rows()


def _write(row: dict[str, Any], prepared: str, sources: tuple[str, ...], start: int) -> dict[str, Any]:
    """The task: the pixels go to the disk or the bucket, and only two small values return."""
    cv2.setNumThreads(1)
    shard: Shard = pickle.loads(row["shard"])
    try:
        for source in sources:
            _bring(source, start)
        if is_uri(prepared):
            _put_shard(shard, prepared)
        else:
            write_shard(shard, Path(prepared))
    except StorageError as error:
        return {"cases": 0, "error": str(error)}
    except OSError as error:
        # `whole_folder` has named the shard's folder where the system named no file.
        return {"cases": 0, "error": f"{error.filename or prepared}: {error.strerror or error}"}
    return {"cases": len(shard.cases), "error": ""}


@cache
def _bring(source: str, start: int) -> None:
    """Copy a source that lies in a bucket to this machine, once a process and preparation."""
    current_copy(source)


def _put_shard(shard: Shard, prepared: str) -> None:
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="shard-") as folder:
        write_shard(shard, Path(folder))
        name = shard_folder(Path(), shard.index)
        put_folder(Path(folder, name), inside(prepared, name.as_posix()), "done.json")
