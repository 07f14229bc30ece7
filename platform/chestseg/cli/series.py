"""`chestseg series`: before a CT series is segmented or prepared, what was found about it and what strict and repair mode do."""

import contextlib
import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from chestseg.dicom.series import SeriesFiles, list_series, report_series
from chestseg.dicom.series_report import Finding, SeriesReport
from chestseg.inference.unzip import unzipped
from chestseg.inference.volume_inputs import ZIP, dicom_files
from chestseg.storage.copies import here

REFUSED = 1
WIDTH = 120


def run(path: str, as_json: bool = False) -> int:
    """Print what reading each CT series of a folder, a zip or an enhanced multi-frame file would find; no pixel is decoded.

    Returns:
        0 where strict mode would read every series, 1 where it would refuse one.

    Raises:
        ValueError: there is no such place, or no CT series in it; says what was found instead.
    """
    place = here(path)
    with _files(place) as files:
        listed = [replace(series, name=path) for series in (list_series(files) if files else [])]
        found = [series for series in listed if not series.left_out]
        reports = [report_series(series) for series in found]
    left_out = Counter(series.left_out for series in listed for _ in series.paths if series.left_out)
    reasons = [f"{count} x {reason}" for reason, count in left_out.most_common()]
    if not found:
        raise ValueError(f"{path}: no CT series: {'; '.join(reasons) or 'no files'}: name the folder or zip of one")
    if as_json:
        told = [_record(series, report) for series, report in zip(found, reports, strict=True)]
        print(json.dumps({"path": path, "series": told, "left_out": dict(left_out)}, indent=1))
    else:
        told = [line for series, report in zip(found, reports, strict=True) for line in _lines(series, report)]
        print("\n".join([*told, *(f"left out: {reason}" for reason in reasons)]))
    return REFUSED if any(report.refusal("strict") for report in reports) else 0


@contextlib.contextmanager
def _files(place: Path) -> Iterator[list[Path]]:
    """The files of a place, those of a zip unpacked for the block."""
    if place.is_dir():
        yield dicom_files(place)
    elif place.name.lower().endswith(ZIP):
        with unzipped(place) as folder:
            yield sorted(folder.iterdir())
    else:
        yield [place]


def _record(series: SeriesFiles, report: SeriesReport) -> dict[str, Any]:
    """A series for machines; `strict` and `repair` are the lines with which they refuse it, or null."""
    modes = {"strict": report.refusal("strict"), "repair": report.refusal("repair")}
    return {**asdict(report), "plane": series.plane, "description": series.description, **modes}


def _lines(series: SeriesFiles, report: SeriesReport) -> Iterator[str]:
    spacing = f", {'x'.join(f'{edge:.3g}' for edge in report.spacing_mm)} mm" if report.spacing_mm else ""
    description = f", {series.description}" if series.description else ""
    yield f"{report.series_uid or 'no UID'}: {report.slices} {series.plane} slices{spacing}{description}"
    for finding in report.findings:
        yield from _wrapped(f"{finding.level:12}", _told(finding))
    yield from _wrapped(f"{'strict':12}", "refuses it" if report.refusal("strict") else "reads it")
    does = ["refuses it"] if report.refusal("repair") else ["reads it", *report.repairs]
    yield from _wrapped(f"{'repair':12}", "; ".join(does))


def _told(finding: Finding) -> str:
    return f"{finding.text} -> {finding.remedy}" if finding.remedy else finding.text


def _wrapped(first: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {first}", subsequent_indent=" " * (len(first) + 4))
