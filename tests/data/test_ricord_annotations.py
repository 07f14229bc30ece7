"""Outlines of several readers to one mask."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Line

from chestseg.data.ricord_annotations import OutlineFile, fill, read_annotations

SHAPE = (3, 8, 10)
UIDS = ("1.1", "1.2", "1.3")
LABELS = [
    {"id": "L_op", "name": "Infectious opacity", "scope": "INSTANCE"},
    {"id": "L_tib", "name": "Infectious TIB/micronodules", "scope": "INSTANCE"},
    {"id": "L_at", "name": "Atelectasis", "scope": "INSTANCE"},
    {"id": "L_neg", "name": "Negative for pneumonia", "scope": "EXAM"},
]
INFILTRATES = ("Infectious opacity", "Infectious TIB/micronodules")


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def drawn(sop_uid: str, vertices: list | None, reader: str = "U_1", label: str = "L_op") -> dict:
    data = None if vertices is None else {"vertices": vertices}
    uids = {"StudyInstanceUID": "9", "SeriesInstanceUID": "1", "SOPInstanceUID": sop_uid}
    return {"labelId": label, "createdById": reader, "data": data, **uids}


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Path]:
    """`export(*rows)` writes an MD.ai export of them, half of them in another of its data sets."""

    def write(*rows: dict) -> Path:
        halves = [{"id": "D_1", "annotations": rows[::2]}, {"id": "D_2", "annotations": rows[1::2]}]
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps({"labelGroups": [{"id": "G", "labels": LABELS}], "datasets": halves}))
        return path

    return write


def mask_of(path: Path, annotators: str = "union", labels: tuple[str, ...] = INFILTRATES, uids=UIDS) -> np.ndarray:
    return OutlineFile(str(path), "1", labels, annotators).read(uids, (len(uids), *SHAPE[1:]), "series")[0]


def test_outlines_are_joined_by_image_and_not_by_order(export):
    path = export(drawn("1.3", box(2, 1, 5, 3)), drawn("1.1", box(0, 0, 1, 1)), drawn("1.3", box(8, 6, 20, 20), label="L_tib"))
    mask = mask_of(path)
    assert mask.dtype == np.uint8
    assert [plane.sum() for plane in mask] == [1, 0, 6 + 4]
    assert mask[2, 1:3, 2:5].all()
    assert mask[2, 6:, 8:].all()
    assert mask[0, 0, 0]


def test_only_the_labels_that_count(export):
    path = export(drawn("1.1", box(0, 0, 1, 1)), drawn("1.2", box(0, 0, 2, 2), label="L_at"), drawn("1.3", box(0, 0, 3, 3), label="L_new"))
    assert [plane.sum() for plane in mask_of(path)] == [1, 0, 0]
    assert [plane.sum() for plane in mask_of(path, labels=("Atelectasis",))] == [0, 4, 0]


def test_union_and_majority_of_readers(export):
    rows = [drawn("1.2", box(i, 0, i + 3, 1), reader) for i, reader in enumerate(("U_1", "U_2", "U_3"))]
    path = export(*rows, drawn("1.2", box(0, 0, 3, 1), "U_1"))
    assert mask_of(path)[1, 0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert mask_of(path, "majority")[1, 0].tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_a_reader_of_the_series_who_did_not_outline_an_image_votes_against(export):
    rows = [drawn("1.1", box(0, 0, 2, 2), "U_1"), drawn("1.1", box(0, 0, 1, 1), "U_2"), drawn("1.2", box(0, 0, 2, 2), "U_1")]
    path = export(*rows)
    assert [plane.sum() for plane in mask_of(path, "majority")] == [1, 0, 0]
    path = export(*rows, drawn("1.3", box(0, 0, 1, 1), "U_3", label="L_at"))
    assert [plane.sum() for plane in mask_of(path, "majority")] == [1, 0, 0]
    alone = export(drawn("1.1", box(0, 0, 2, 2), "U_1"))
    assert mask_of(alone, "majority").sum() == 4


def test_lost_outlines_are_told(export):
    path = export(drawn("1.1", None), drawn("1.1", box(0, 0, 1, 1)), drawn("1.2", [[1, 1], [2, 2]]), drawn("1.9", None))
    mask, notes = OutlineFile(str(path), "1", INFILTRATES, "union").read(UIDS, SHAPE, "series")
    assert mask.sum() == 1
    assert notes == ("some of its annotations have no outline",)


def test_outlines_on_images_that_are_not_among_the_slices_are_refused(export):
    path = export(drawn("1.1", box(0, 0, 1, 1)), drawn("1.7", box(0, 0, 1, 1)))
    with pytest.raises(
        ValueError, match=r"^series: 1 of 2 images with outlines are not among its slices, .*: complete the series, 1\.7 for one$"
    ):
        mask_of(path)


def test_slices_put_in_for_missing_ones_get_the_mask_of_the_nearest_image(export):
    path = export(drawn("1.1", box(0, 0, 1, 1)))
    assert mask_of(path, uids=("1.1", None, None, None, "1.2")).any(axis=(1, 2)).tolist() == [True, True, True, False, False]


def test_an_export_says_what_was_drawn_and_what_was_only_said(export):
    said = drawn("1.1", None, label="L_neg") | {"StudyInstanceUID": "8", "SeriesInstanceUID": None, "SOPInstanceUID": None}
    annotations = read_annotations(export(said, drawn("1.1", None)))
    assert annotations.scopes["Negative for pneumonia"] == "EXAM"
    assert annotations.studies == {"8", "9"}
    assert annotations.outlined_studies == {"9"}
    assert [outline.label for outline in annotations.outlines["1"]] == ["Infectious opacity"]


def test_a_changed_file_is_read_again(export):
    path = export(drawn("1.1", box(0, 0, 1, 1)))
    assert mask_of(path).sum() == 1
    export(drawn("1.1", box(0, 0, 2, 2)))
    os.utime(path, ns=(1, 1))
    assert mask_of(path).sum() == 4


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"datasets": [', "is not JSON, or was cut short: download RICORD's annotations again"),
        ('{"datasets": []}', "not an export of MD.ai as RICORD has it"),
        ("[]", "not an export of MD.ai as RICORD has it"),
        ("\udcff", "is not JSON"),
    ],
)
def test_what_is_no_export_is_named(tmp_path, text, error):
    path = tmp_path / "annotations.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=rf"annotations\.json: {error}"):
        read_annotations(path)
    with pytest.raises(ValueError, match=r"none\.json: No such file or directory: put RICORD's annotations there"):
        read_annotations(tmp_path / "none.json")


@pytest.mark.parametrize("wrong", ["a", None, float("nan"), [1]])
def test_vertices_that_are_no_numbers_are_named(export, wrong):
    with pytest.raises(ValueError, match=r"annotations\.json: not an export of MD.ai"):
        read_annotations(export(drawn("1.1", [[1, wrong], [1, 2], [3, 4]])))


def test_pixels_whose_centres_lie_within():
    star = np.random.default_rng(5).uniform(0, 1, 60)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    vertices = np.column_stack([20 + (6 + 13 * star) * np.cos(angles), 17 + (6 + 13 * star) * np.sin(angles)])
    columns, rows = np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5)
    expected = Line(vertices).contains_points(np.column_stack([columns.ravel(), rows.ravel()])).reshape(30, 40)
    assert np.array_equal(fill(vertices, (30, 40)), expected)
    assert np.array_equal(fill(vertices[::-1], (30, 40)), expected)


def test_the_area_is_kept_where_drawing_the_line_adds_its_half():
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.column_stack([32 + 10 * np.cos(angles), 32 + 10 * np.sin(angles)])
    area, drawn_area = fill(circle, (64, 64)).sum(), cv2.fillPoly(np.zeros((64, 64), np.uint8), [np.int32(circle)], 1).sum()
    assert abs(area - np.pi * 100) < 6
    assert drawn_area > np.pi * 100 + 6


def test_areas_that_share_an_edge_share_no_pixel_and_leave_none_out():
    left, right = fill(np.array(box(0, 0, 4.5, 8)), (8, 10)), fill(np.array(box(4.5, 0, 10, 8)), (8, 10))
    assert not (left & right).any()
    assert (left | right).all()


def test_a_line_drawn_over_its_own_beginning_leaves_no_hole():
    twice = np.array(box(1, 1, 6, 6) + box(1, 1, 6, 6))
    assert fill(twice, (8, 10)).sum() == 25


def test_lines_beyond_the_image_are_cut():
    assert fill(np.array(box(-5, -5, 50, 50)), (8, 10)).all()
    assert not fill(np.array(box(20, 20, 30, 30)), (8, 10)).any()
