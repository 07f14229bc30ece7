"""Phantoms as a data set in the layout of SIIM-ACR Pneumothorax Segmentation: a tree of DICOM files and a table of masks."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

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

    Raises:
        ValueError: a count, share or size out of range, or a folder that holds something else.
    """
    folder = Path(folder)
    _check(folder, count, size, positive_share)
    tests = max(1, round(count * TESTS_PER_CASE))
    with whole_folder(folder) as draft:
        _write_table(draft / TABLE, _cases(draft, count, tests, seed, size, positive_share, progress))


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


def _cases(
    folder: Path, count: int, tests: int, seed: int, size: int, positive_share: float, progress: Callable[[int, int], None] | None
) -> Iterable[tuple[str, list[str]]]:
    for i in range(count + tests):
        if i < count:
            yield write_case(folder, seed, i, size, positive_share)
        else:
            _write_test(folder, seed, i, size, positive_share)
        if progress is not None:
            progress(i + 1, count + tests)


def _uids(seed: int, i: int) -> tuple[str, str, str]:
    """Of study, series and SOP instance: `2.25.` and an integer (PS3.5 section B.2)."""
    study, series, sop = (f"2.25.{seed_for('uid', level, seed, i)}" for level in ("study", "series", "sop"))
    return study, series, sop


def _write_test(folder: Path, seed: int, i: int, size: int, positive_share: float) -> None:
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
