"""`chestseg batch-predict`: segment whole archives on a cluster, one table and one mask a study, resumable."""

import sys
from collections.abc import Sequence
from typing import Literal

from chestseg.distributed.batch_predict import Workers, batch_predict
from chestseg.inference.batch_results import failures
from chestseg.inference.batch_worker import BatchSettings
from chestseg.inference.locate import open_bundle
from chestseg.models.precision import Precision

BROKEN = 1
SHOWN = 5


def run(
    files: Sequence[str],
    model: str,
    output: str,
    formats: Sequence[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    tracking_uri: str | None = None,
    memory_gb: float = 4.0,
    series: Literal["strict", "repair"] = "strict",
    workers: int | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    window: tuple[float, float] | None = None,
) -> int:
    """Segment what a bundle is for; the same command again goes on where it was stopped and tries again what failed.

    Args:
        files: files, folders and patterns, URIs of buckets, or manifests (Parquet or CSV with a column `image`).
        model: a bundle's folder or an MLflow URI; it is looked up once, here, and every process uses that version.
        output: folder of the results, which all nodes share, or a URI.
        formats: as for `chestseg predict`.
        device: of each process.
        precision: as for `chestseg predict`.
        tracking_uri: where MLflow keeps a `models:/` URI.
        memory_gb: volumes: main memory of each process.
        series: volumes: whether a DICOM series with gaps, duplicates or a tilted gantry is refused or repaired.
        workers: processes; as many as the cluster has room for when None.
        cpus: threads of each.
        gpus: share of a GPU for each.
        window: as for `chestseg predict`.

    Returns:
        0, or 1 when a case could not be segmented: its row in the table says why.

    Raises:
        ValueError: nothing can be done.
    """
    bundle = open_bundle(model, tracking_uri)
    settings = BatchSettings(output, tuple(formats or ()), device, precision, memory_gb, series, window)
    try:
        rows = batch_predict(files, bundle, settings, Workers(workers, cpus, gpus))
    except OSError as error:
        raise ValueError(f"{error.filename or output}: {error.strerror}: give an --output that can be written, with space") from error
    failed = list(failures(rows))
    for row in failed[:SHOWN]:
        print(f"chestseg: error: {row['reason']}", file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"chestseg: error: {len(failed) - SHOWN} more, see the column `reason` of the table", file=sys.stderr)
    print(f"{len(rows) - len(failed)} of {len(rows)} cases in {output}/table.csv, by {bundle.spec.name} {bundle.digest[:12]}")
    return BROKEN if failed else 0
