"""Phantoms as a data set in the layout of SIIM-ACR Pneumothorax Segmentation: a tree of DICOM files and a table of masks."""

import csv
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from chestseg.arrays.rle import encode_rle
from chestseg.dicom.write import write_radiograph
from chestseg.files import whole_folder
from chestseg.phantoms.radiograph.make import check_size
from chestseg.phantoms.radiograph.render import render
from chestseg.phantoms.radiograph.scene import draw_scene
from chestseg.seed import seed_for

TRAIN, TEST, TABLE = "dicom-images-train", "dicom-images-test", "train-rle.csv"
HEADER = ("ImageId", " EncodedPixels")
"""Column names as published, with the space."""
UNLABELLED_EVERY = 25
"""One file in so many has no row in the table."""
TESTS_PER_CASE = 0.1
"""Files of the test tree for each file of the training tree."""
GROUP = (1, 2, 3)
"""Pictures of each patient, in groups of three patients whose order is drawn."""
EDGE_MM = 400.0
"""Edge of the picture in the patient's plane."""
JPEG_QUALITY = 92
GOLDEN_RATIO = 0.6180339887498949


def write_siim(
    folder: str | Path,
    count: int,
    seed: int,
    size: int = 1024,
    positive_share: float = 0.5,
    *,
    progress: Callable[[int, int], None] | None = None,
    processes: int = 1,
) -> None:
    """Write `count` training phantoms, and a tenth as many unlabelled test phantoms, as SIIM-ACR's archive unpacks.

    `dicom-images-train/<study>/<series>/<SOPInstanceUID>.dcm`, `train-rle.csv`, `dicom-images-test/<SOPInstanceUID>.dcm`. As there,
    names and values of the table begin with a space, a mask may take several rows, a few training files have no row, and test files
    have no PatientID. The folder appears when all of it is written; equal arguments give equal bytes.

    Args:
        folder: where to write; an older data set of this form is replaced.
        count: training files.
        seed: makes patients, pictures and UIDs.
        size: edge length in pixels; masks are coded at this size.
        positive_share: share of pictures with a pneumothorax, 0 to 1.
        progress: called with the number of files written and of all files.
        processes: that draw beside each other; a program that asks for more than one is imported by them, so its own start belongs under
            `if __name__ == "__main__"`.

    Raises:
        ValueError: a count, share or size out of range, or a folder that holds something else.
    """
    folder = Path(folder)
    _check(folder, count, size, positive_share)
    tests = max(1, round(count * TESTS_PER_CASE))
    with whole_folder(folder) as draft, _mapped(processes) as mapped:
        write = partial(_write, draft, count, seed, size, positive_share)
        _write_table(draft / TABLE, _counted(mapped(write, range(count + tests)), count + tests, progress))


def write_case(folder: str | Path, seed: int, i: int, size: int = 1024, positive_share: float = 0.5) -> tuple[str, list[str]]:
    """Write training file `i` of the data set of `seed`, whichever files are written before or beside it.

    Returns:
        SOPInstanceUID and the run-length code of each row it has in the table: `-1` for a negative, none for an unlabelled file.
    """
    patient = _patient_of(seed, i)
    positive = _is_positive(seed, i, positive_share)
    scene = draw_scene(seed_for("siim", seed, i), positive, seed_for("siim patient", seed, patient))
    pixels, mask = render(scene, size)
    study, series, sop = _uids(seed, i)
    write_radiograph(
        Path(folder) / TRAIN / study / series / f"{sop}.dcm",
        pixels,
        patient_id=f"phantom-{seed}-{patient:05d}",
        study_uid=study,
        series_uid=series,
        sop_uid=sop,
        view=scene.thorax.view,
        sex=scene.thorax.patient.sex,
        age=f"{scene.thorax.patient.age:03d}Y",
        spacing_mm=(EDGE_MM / size, EDGE_MM / size),
        jpeg_quality=JPEG_QUALITY,
    )
    return sop, [] if i % UNLABELLED_EVERY == UNLABELLED_EVERY // 2 else component_rows(mask)


def component_rows(mask: np.ndarray) -> list[str]:
    """Run-length code of each connected part of a mask (H, W), a row each as in SIIM-ACR's table; `-1` alone for an empty one."""
    parts, labels = cv2.connectedComponents(mask.astype(np.uint8))
    return [encode_rle(labels == part) for part in range(1, parts)] or [encode_rle(mask)]


@contextmanager
def _mapped(processes: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` whose calls are shared by so many processes."""
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        yield pool.map


def _write(folder: Path, count: int, seed: int, size: int, positive_share: float, i: int) -> tuple[str, list[str]]:
    """Write file `i`, one of the test tree where it comes after `count` others; what the table has of it."""
    if i < count:
        return write_case(folder, seed, i, size, positive_share)
    return _write_test(folder, seed, i, size, positive_share), []


def _counted(
    cases: Iterable[tuple[str, list[str]]], number: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[str, list[str]]]:
    for done, case in enumerate(cases, 1):
        yield case
        if progress is not None:
            progress(done, number)


def _uids(seed: int, i: int) -> tuple[str, str, str]:
    """Of study, series and SOP instance: `2.25.` and an integer (PS3.5 section B.2)."""
    study, series, sop = (f"2.25.{seed_for('uid', level, seed, i)}" for level in ("study", "series", "sop"))
    return study, series, sop


def _write_test(folder: Path, seed: int, i: int, size: int, positive_share: float) -> str:
    """Its SOPInstanceUID."""
    scene = draw_scene(seed_for("siim", seed, i), _is_positive(seed, i, positive_share))
    study, series, sop = _uids(seed, i)
    pixels, _ = render(scene, size)
    write_radiograph(
        folder / TEST / f"{sop}.dcm",
        pixels,
        patient_id="",
        study_uid=study,
        series_uid=series,
        sop_uid=sop,
        view=scene.thorax.view,
        jpeg_quality=JPEG_QUALITY,
    )
    return sop


def _write_table(path: Path, cases: Iterable[tuple[str, list[str]]]) -> None:
    with open(path, "w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for sop, rows in cases:
            writer.writerows((sop, f" {row}") for row in rows)


def _patient_of(seed: int, i: int) -> int:
    group, place = divmod(i, sum(GROUP))
    pictures = np.random.default_rng(seed_for("siim group", seed, group)).permutation(GROUP)
    return group * len(GROUP) + int(np.searchsorted(np.cumsum(pictures), place, side="right"))


def _is_positive(seed: int, i: int, share: float) -> bool:
    """A low-discrepancy sequence: the share is met to within a file or two in every stretch of files, without a period."""
    return (i * GOLDEN_RATIO + seed_for("siim positive", seed) % 1000 / 1000) % 1 < share


def _check(folder: Path, count: int, size: int, positive_share: float) -> None:
    check_size(size)
    if count < 1:
        raise ValueError(f"count {count}: write at least one phantom")
    if not 0 <= positive_share <= 1:
        raise ValueError(f"positive_share {positive_share}: give a share from 0 to 1")
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in (TRAIN, TEST, TABLE)) if folder.is_dir() else []
    if foreign:
        raise ValueError(f"{folder} holds {foreign[0]!r}, which is not of a phantom data set and would be replaced: name another folder")
