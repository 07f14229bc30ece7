"""Batch prediction: Ray Data shares out items among processes that each hold the predictor; what is done stays done."""

import math
import pickle
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data
import torch
from tqdm import tqdm

from chestseg.bundle import DESCRIPTION, Bundle, load_bundle
from chestseg.config.location import a_folder, absolute
from chestseg.distributed.cluster import attach, require_shared
from chestseg.distributed.data_tasks import largest, quiet, task_memory
from chestseg.inference.batch_items import Item, list_ct, list_radiographs
from chestseg.inference.batch_output import held_results
from chestseg.inference.batch_results import RADIOGRAPHS, VOLUMES, Row, write_table
from chestseg.inference.batch_worker import BatchSettings, BatchWorker, refused, segments_volumes
from chestseg.inference.volume_inputs import NO_WINDOW
from chestseg.inference.write import FORMATS
from chestseg.inference.write_volume import FORMATS as VOLUME_FORMATS

GB = 1e9
RADIOGRAPH_MEMORY = 2e9
"""Bytes for a process that segments radiographs: PyTorch, a network, a decoded image of the largest detectors."""
AT_ONCE = 8
"""Radiographs handed to a process together: it bounds what waits for it, and how far the bar lags behind."""


@dataclass(frozen=True)
class Workers:
    """How many processes segment, and with what each. None: what the cluster has room for, and what fits the track."""

    count: int | None = None
    cpus: int | None = None
    """Threads of each: 1 for radiographs, for volumes as many as PyTorch would take here, which is what `chestseg predict` does."""
    gpus: float | None = None
    """Share of a GPU for each; 1 where the cluster has GPUs and `device` allows them."""

    def __post_init__(self) -> None:
        for name, value in (("workers", self.count), ("cpus", self.cpus), ("gpus", self.gpus)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"--{name} {value}: give a number above 0")


def batch_predict(named: Sequence[str], bundle: Bundle, settings: BatchSettings, workers: Workers | None = None) -> list[Row]:
    """Segment everything that is named, on the cluster `attach` finds or starts where there is work, and write one table.

    Masks and records are those of `chestseg predict`, file for file. An item is done when all its files are written; done items are not
    touched again, failed ones are tried again when it is called again. All processes use `bundle` as it is on the driver: its files
    travel through Ray and are checked where they arrive. What lies in a bucket is copied to the driver's disk to list it, and each item
    to that of the node which segments it; results are put into a bucket item by item.

    Args:
        named: files, folders and patterns, URIs, or manifests, see `batch_items`.
        bundle: of either track.
        settings: output and how to segment; the output is a path that is the same from every node, or a URI.
        workers: how the work is shared out.

    Returns:
        The table's rows, in the order of the items.

    Raises:
        ValueError: nothing to do, an output that holds other results or can't be written, or no such format or device.
    """
    volumes = segments_volumes(bundle)
    settings = _checked(settings, volumes)
    require_shared(settings.output, *named)
    items = list_ct(named) if volumes else list_radiographs(named)
    with held_results(settings.output, _about(bundle, settings)) as markers:
        rows = {item.name: [refused(item, bundle)] for item in items if item.refusal}
        rows |= {item.name: done for item in items if not item.refusal and (done := markers.rows(item)) is not None}
        pending = [item for item in items if item.name not in rows]
        for item in pending:
            markers.forget(item)
        print(f"{len(items)} items, {len(items) - len(pending)} finished: {len(pending)} to segment", file=sys.stderr, flush=True)
        if pending:
            with attach():
                rows |= _segment(pending, len(items), bundle, settings, workers or Workers(), volumes)
        table = [row for item in items for row in rows[item.name]]
        write_table(markers.output, table, VOLUMES if volumes else RADIOGRAPHS)
    return table


def _checked(settings: BatchSettings, volumes: bool) -> BatchSettings:
    known = VOLUME_FORMATS if volumes else FORMATS
    unknown = [name for name in settings.formats if name not in known]
    if unknown:
        raise ValueError(f"format {unknown[0]!r}: choose from {', '.join(known)}")
    if settings.window and not volumes:
        raise ValueError(NO_WINDOW)
    formats = settings.formats or (("nifti", "json") if volumes else ("png", "json"))
    try:
        output = absolute(a_folder(settings.output))
    except ValueError as error:
        raise ValueError(f"--output {settings.output}: {error}") from None
    return BatchSettings(**{**vars(settings), "formats": tuple(sorted(set(formats))), "output": output})


def _about(bundle: Bundle, settings: BatchSettings) -> dict[str, Any]:
    """What a batch that goes on must have in common with the one that was begun."""
    window = list(settings.window) if settings.window else None
    decides = {"formats": list(settings.formats), "precision": settings.precision, "series": settings.series, "window": window}
    return {"model": bundle.spec.name, "version": bundle.digest} | decides


def _segment(items: list[Item], of: int, bundle: Bundle, settings: BatchSettings, workers: Workers, volumes: bool) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    with (
        quiet(),
        tqdm(total=of, initial=of - len(items), desc="predict", unit=" volumes" if volumes else " images", file=sys.stderr) as bar,
    ):
        for answer in _answers(items, bundle, settings, workers, volumes):
            if answer["error"]:
                raise ValueError(f"{answer['error']}: make room or correct --output and start again, finished items are kept")
            found[answer["name"]] = pickle.loads(answer["rows"])
            bar.update()
    return found


def _answers(items: list[Item], bundle: Bundle, settings: BatchSettings, workers: Workers, volumes: bool) -> Iterator[dict[str, Any]]:
    """What `_Segmenter` says of each item, in the order in which they are done."""
    gpus = _gpus(settings.device, workers)
    cpus = min(workers.cpus or (torch.get_num_threads() if volumes else 1), int(largest("CPU")))
    count = min(workers.count or _that_fit(cpus, gpus), len(items))
    rows = [{"item": pickle.dumps(item)} for item in items]
    together = 1 if volumes else max(1, min(AT_ONCE, len(items) // (4 * count)))
    tasks = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / together)).map(
        _Segmenter,  # type: ignore[arg-type]  # a class is an actor's, which Ray's types do not say
        fn_constructor_args=(ray.put(_packed(bundle)), settings, cpus),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count),
        num_cpus=cpus,
        num_gpus=gpus or None,
        memory=task_memory(settings.memory_gb * GB if volumes else RADIOGRAPH_MEMORY),
    )
    return iter(tasks.iter_rows())


def _gpus(device: str, workers: Workers) -> float:
    if device == "cpu":
        return 0
    return workers.gpus or (1 if device != "auto" or largest("GPU") else 0)


def _that_fit(cpus: int, gpus: float) -> int:
    """Processes that the cluster has room for."""
    total = ray.cluster_resources()
    return max(1, int(min(total.get("CPU", 1) / cpus, total.get("GPU", 0) / gpus if gpus else math.inf)))


def _packed(bundle: Bundle) -> dict[str, bytes]:
    return {name: (bundle.folder / name).read_bytes() for name in (DESCRIPTION, *bundle.spec.files)}


class _Segmenter:
    """The actor."""

    def __init__(self, packed: Any, settings: BatchSettings, threads: int) -> None:
        torch.set_num_threads(threads)
        content: dict[str, bytes] = ray.get(packed)  # type: ignore[assignment]
        # An actor is ended by force, and would leave behind what it had on the disk by then.
        with tempfile.TemporaryDirectory(prefix="chestseg-bundle-") as folder:
            for name, data in content.items():
                Path(folder, name).write_bytes(data)
            self.worker = BatchWorker(load_bundle(folder), settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        item: Item = pickle.loads(row["item"])
        try:
            rows = self.worker.do(item)
        except OSError as error:
            return {"name": item.name, "rows": b"", "error": f"{error.filename or self.worker.output}: {error.strerror}"}
        except ValueError as error:
            return {"name": item.name, "rows": b"", "error": str(error)}
        return {"name": item.name, "rows": pickle.dumps(rows), "error": ""}
