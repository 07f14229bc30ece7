"""CT phantoms as a data set in the layout of MIDRC-RICORD-1A: a tree of DICOM series and an MD.ai export of readers' outlines."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.config.stage import Spacing, Triple
from chestseg.files import whole_folder
from chestseg.phantoms.ct.files import (
    POSITIVE_SHARE,
    Progress,
    check_data_set,
    ct_phantoms,
    ct_uids,
    write_phantom_series,
)
from chestseg.phantoms.ct.make import SHAPE, SPACING, CtPhantom
from chestseg.seed import seed_for

TREE = "MIDRC-RICORD-1A"
ANNOTATIONS = "MIDRC-RICORD-1a_annotations_labelgroup_all_2020-Dec-8.json"
OPACITY, ATELECTASIS = "L_phantom1", "L_phantom3"
TYPICAL, NEGATIVE = "L_phantom8", "L_phantom9"
LABELS = (
    (OPACITY, "Infectious opacity", "INSTANCE"),
    ("L_phantom2", "Infectious TIB/micronodules", "INSTANCE"),
    (ATELECTASIS, "Atelectasis", "INSTANCE"),
    ("L_phantom4", "Other noninfectious opacity", "INSTANCE"),
    ("L_phantom5", "Noninfectious nodule/mass", "INSTANCE"),
    ("L_phantom6", "Infectious cavity", "INSTANCE"),
    (TYPICAL, "Typical appearance", "EXAM"),
    (NEGATIVE, "Negative for pneumonia", "EXAM"),
)
"""Id, name and scope."""
READERS = ("U_reader1", "U_reader2", "U_reader3")
UNANNOTATED_EVERY = 9
"""One study in so many is in the tree and not in the export."""
FINE = 3
"""Outlines run a sixth of a pixel inside the edge of the mask: drawn on pixels a third as large."""

Row = dict[str, Any]


def write_ricord(
    folder: str | Path,
    count: int,
    seed: int,
    shape: Triple = SHAPE,
    spacing: Spacing = SPACING,
    positive_share: float = POSITIVE_SHARE,
    *,
    progress: Progress | None = None,
) -> None:
    """Write `count` phantoms as RICORD-1A unpacks: `MIDRC-RICORD-1A/<PatientID>/<study>/<series>/*.dcm` and its annotations beside.

    As there, a study has a localiser of one image, some have a coronal series too, rows of the export are in no order, readers label the
    whole exam besides (with `data` null), other findings than infiltrates are outlined, one to three readers outline a series, some
    outlines are lost (`data` null), and some studies nobody annotated. The first reader's outlines enclose the phantom's mask exactly,
    save for its holes; the others stay a little inside, so the union of all is the mask. Equal arguments give equal bytes.

    Args:
        folder: where to write; an older data set of this form is replaced.
        count: studies.
        seed: makes the phantoms.
        shape: slices, rows, columns of each.
        spacing: millimetres between them.
        positive_share: share of phantoms with infiltrates, 0 to 1.
        progress: called with the number of studies written and of all.

    Raises:
        ValueError: a count, share, shape or spacing out of range, or a folder that holds something else.
    """
    folder = Path(folder)
    check_data_set(folder, (TREE, ANNOTATIONS), count, positive_share, shape, spacing)
    with whole_folder(folder) as draft:
        rows: list[Row] = []
        for i, own, phantom in ct_phantoms(count, seed, shape, spacing, positive_share, progress):
            _write_study(draft / TREE, phantom, own, coronal=i % 2 == 1)
            if i % UNANNOTATED_EVERY != UNANNOTATED_EVERY - 1:
                rows += _annotate(phantom, own)
        order = np.random.default_rng(seed_for("ct rows", seed)).permutation(len(rows))
        (draft / ANNOTATIONS).write_text(json.dumps(_export([rows[at] for at in order]), indent=1), "ascii")


def outlines(mask: np.ndarray) -> list[list[list[float]]]:
    """Closed lines round the parts of a mask (H, W): the x and y of their corners in pixels from the outer corner of the first pixel.

    Exactly the mask's pixels have their centres inside, and those of its holes.
    """
    fine = np.kron(mask.astype(np.uint8), np.ones((FINE, FINE), np.uint8))
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [np.round((contour[:, 0] + 0.5) / FINE, 3).tolist() for contour in contours]


def _write_study(tree: Path, phantom: CtPhantom, seed: int, *, coronal: bool) -> None:
    volume = phantom.volume
    turned = Volume(np.ascontiguousarray(volume.values.transpose(1, 0, 2)[:, ::-1]), _coronal(volume.grid))
    series = [("localiser", _localiser(turned)), ("axial", volume), *([("coronal", turned)] if coronal else [])]
    for number, (name, values) in enumerate(series):
        study_uid, series_uid = ct_uids(seed, name)
        folder = tree / f"phantom-{seed}" / study_uid / series_uid
        write_phantom_series(folder, values, seed, name, number=number + 1, description=name)


def _coronal(grid: Grid) -> Grid:
    """A canonical grid's voxels as coronal images: slices towards the back, rows towards the feet."""
    slices, rows, columns = grid.shape
    affine = grid.affine[:, [1, 0, 2, 3]].copy()
    affine[:, 3] += affine[:, 1] * (slices - 1)
    affine[:, 1] *= -1
    return Grid((rows, slices, columns), affine)


def _localiser(coronal: Volume) -> Volume:
    """One image seen from the front, averaged through the body."""
    average = np.round(coronal.values.mean(0, keepdims=True)).astype(np.int16)
    return Volume(average, Grid((1, *average.shape[1:]), coronal.grid.affine))


def _annotate(phantom: CtPhantom, seed: int) -> list[Row]:
    """What one to three readers say of a study, and draw on its axial series."""
    rng = np.random.default_rng(seed_for("ct readers", seed))
    readers = rng.permutation(READERS)[: int(rng.integers(1, len(READERS) + 1))].tolist()
    study, series = ct_uids(seed, "axial")
    ill = bool(phantom.mask.any())
    rows = [_row(reader, TYPICAL if ill else NEGATIVE, study) for reader in readers]
    drawn = np.flatnonzero(phantom.mask.any((1, 2))).tolist()
    for rank, reader in enumerate(readers):
        for index in drawn:
            mask = phantom.mask[index] if rank == 0 else cv2.erode(phantom.mask[index], np.ones((3, 3), np.uint8))
            rows += [_row(reader, OPACITY, study, series, index, line) for line in outlines(mask)]
    if rng.random() < 0.5 and drawn:
        rows.append(_row(readers[-1], OPACITY, study, series, int(rng.choice(drawn))))
    if rng.random() < 0.5 and drawn:
        index = int(rng.choice(drawn))
        rows += [_row(readers[0], ATELECTASIS, study, series, index, line) for line in outlines(_back(phantom.lungs[index]))]
    return rows


def _back(lungs: np.ndarray) -> np.ndarray:
    """The hindmost tenth of the rows that are lung."""
    rows = np.flatnonzero(lungs.any(1))
    return lungs * (np.arange(len(lungs)) > rows[-1] - max(1, len(rows) // 10))[:, None]


def _row(reader: str, label: str, study: str, series: str | None = None, index: int = 0, line: list[list[float]] | None = None) -> Row:
    """One annotation; without `line` its data is null, and without `series` it is of the whole exam."""
    image = f"{series}.{index + 1}" if series else None
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": image}
    data = None if line is None else {"vertices": line}
    name = seed_for("ct annotation", reader, label, study, series or "", index, json.dumps(line))
    mode = "freeform" if series else None
    return {"id": f"A_{name % 16**6:06x}", "labelId": label, "createdById": reader, "annotationMode": mode, "data": data, **uids}


def _export(rows: list[Row]) -> dict[str, Any]:
    labels = [{"id": key, "name": name, "shortName": name, "scope": scope} for key, name, scope in LABELS]
    half = len(rows) // 2
    datasets = [{"id": f"D_phantom{n}", "name": TREE, "annotations": part} for n, part in enumerate((rows[:half], rows[half:]), 1)]
    return {"id": "phantoms", "name": TREE, "labelGroups": [{"id": "G_phantom", "name": TREE, "labels": labels}], "datasets": datasets}
