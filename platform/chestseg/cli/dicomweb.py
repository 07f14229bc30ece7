"""`chestseg dicomweb`: segment studies of a DICOMweb server, and store the segmentations in it."""

import logging
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from chestseg.archive.connect import connect
from chestseg.archive.journal import Journal
from chestseg.archive.look import Tally, Watcher
from chestseg.archive.segmenting import BODY_PARTS, Segmenter
from chestseg.archive.server import Server, Unreachable
from chestseg.cli.leaving import leaving_at_sigterm
from chestseg.files import exclusive
from chestseg.inference.locate import open_bundle
from chestseg.models.precision import Precision

BROKEN = 1
JOURNAL = "chestseg-dicomweb"


def run(
    server: str,
    model: str,
    date: str | None = None,
    days: int | None = None,
    limit: int | None = None,
    watch: float | None = None,
    dry_run: bool = False,
    journal: str | None = None,
    body_parts: Sequence[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    tracking_uri: str | None = None,
    memory_gb: float = 4.0,
    series: Literal["strict", "repair"] = "strict",
) -> int:
    """Segment what has no segmentation by this model yet; each study's trouble is one line, and the others are done.

    Args:
        server: address of its DICOMweb services.
        model: a bundle's folder or an MLflow URI, looked up once: a later version is taken when the command is started again.
        date: StudyDate, or a range of it.
        days: this many days up to today, seen from each look.
        limit: studies in one look.
        watch: seconds between looks; one look when None.
        dry_run: nothing is fetched, stored or noted.
        journal: folder of the journal.
        body_parts: words of which BodyPartExamined holds one, where it is stated.
        device: as for `chestseg predict`.
        precision: as for `chestseg predict`.
        tracking_uri: where MLflow keeps a `models:/` URI.
        memory_gb: volumes: main memory of the process.
        series: volumes: whether a series with gaps, duplicates or a tilted gantry is refused or repaired.

    Returns:
        0, or 1 when something could not be segmented or stored.

    Raises:
        ValueError: nothing can be done: the server can't be reached, or an argument is wrong.
    """
    _check(date, days, limit, watch)
    client = connect(server)
    bundle = open_bundle(model, tracking_uri)
    parts = BODY_PARTS if body_parts is None else body_parts
    segmenter = Segmenter(bundle, device=device, precision=precision, memory_gb=memory_gb, series=series, body_parts=parts)
    for library in ("urllib3", "dicomweb_client", "pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    folder = Path(journal or JOURNAL)
    with leaving_at_sigterm():
        if dry_run:
            watcher = Watcher(Server(client), segmenter, Journal(folder, client.base_url, read_only=True), _say)
            return _told(watcher.look(_dates(date, days), limit, dry_run=True))
        with exclusive(folder, "written"):
            watcher = Watcher(Server(client), segmenter, Journal(folder, client.base_url), _say, settle=watch is not None)
            while True:
                try:
                    code = _told(watcher.look(_dates(date, days), limit))
                except Unreachable as trouble:
                    if watch is None:
                        raise
                    _say(f"{trouble}; looking again in {watch:g} s")
                    code = BROKEN
                if watch is None:
                    return code
                time.sleep(watch)


def _check(date: str | None, days: int | None, limit: int | None, watch: float | None) -> None:
    first, _, last = (date or "").partition("-")
    if date is not None and not ((first or last) and all(len(day) == 8 and day.isdecimal() for day in (first, last) if day)):
        raise ValueError(f"--date {date}: give YYYYMMDD, YYYYMMDD-YYYYMMDD, YYYYMMDD- or -YYYYMMDD")
    for name, value in (("days", days), ("limit", limit), ("watch", watch)):
        if value is not None and not value > 0:
            raise ValueError(f"--{name} {value}: give a number above 0")


def _dates(named: str | None, days: int | None) -> str | None:
    if days is None:
        return named
    today = date.today()
    return f"{today - timedelta(days=days - 1):%Y%m%d}-{today:%Y%m%d}"


def _told(tally: Tally) -> int:
    waiting = f", {tally.waiting} waiting" if tally.waiting else ""
    _say(f"{tally.stored} stored, {tally.refused} refused, {tally.failed} failed{waiting}")
    return BROKEN if tally.refused or tally.failed else 0


def _say(line: str) -> None:
    print(" ".join(line.split()), flush=True)
