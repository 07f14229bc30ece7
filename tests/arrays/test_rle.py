"""Run-length codes: round trips, the organiser's table, and what is refused."""

import csv
import gzip
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from chestseg.arrays.rle import decode_rle, encode_rle


def test_gaps_are_relative_and_runs_go_down_the_columns():
    mask = decode_rle(["1 2 2 1"], (3, 4))
    assert mask.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert mask.dtype == np.uint8
    assert mask.flags.c_contiguous


def test_rows_are_united_and_each_starts_at_the_first_pixel():
    assert decode_rle(["0 2", " 1 2 "], (4, 1)).ravel().tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("rows", [["-1"], [" -1"], []])
def test_minus_one_is_an_empty_mask(rows):
    assert not decode_rle(rows, (4, 4)).any()


def test_a_run_that_ends_at_the_last_pixel_is_kept():
    corner = np.zeros((4, 4), bool)
    corner[2:, 3] = True
    assert encode_rle(corner) == "14 2"
    assert encode_rle(np.ones((1024, 1024), np.uint8)) == f"0 {1024 * 1024}"
    assert encode_rle(np.zeros((4, 4))) == "-1"


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1)))
def test_decoding_undoes_encoding(mask):
    assert np.array_equal(decode_rle([encode_rle(mask)], mask.shape), mask)


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (6, 5), elements=st.integers(0, 1)), st.integers(0, 30))
def test_a_mask_in_two_rows_decodes_to_their_union(mask, cut):
    flat = mask.T.ravel()
    parts = [np.where(np.arange(30) < cut, flat, 0), np.where(np.arange(30) >= cut, flat, 0)]
    rows = [encode_rle(part.reshape(5, 6).T) for part in parts]
    assert np.array_equal(decode_rle(rows, (6, 5)), mask)


@pytest.mark.parametrize(
    ("row", "finding"),
    [
        ("3", "has 1 numbers"),
        ("", "has 0 numbers"),
        ("3 x", "not whole numbers"),
        ("3 1.5", "not whole numbers"),
        ("1 99999999999999999999", "not whole numbers"),
        ("-3 2", "gaps are 0 or more"),
        ("3 0", "lengths 1 or more"),
        ("15 2", "beyond the 16 of a 4x4 image"),
        ("0 9223372036854775807 0 9223372036854775807", "beyond the 16 of a 4x4 image"),
    ],
)
def test_what_is_no_code_for_the_image_is_refused(row, finding):
    with pytest.raises(ValueError, match=finding):
        decode_rle([row], (4, 4))


def test_the_whole_official_table(real_data):
    masks = defaultdict(list)
    with gzip.open(real_data / "siim" / "train-rle-full.csv.gz", "rt") as file:
        for case_id, row in list(csv.reader(file))[1:]:
            masks[case_id].append(row)
    assert (sum(map(len, masks.values())), len(masks)) == (12954, 12047)
    positives = [rows for rows in masks.values() if rows != ["-1"]]
    assert len(positives) == 2669
    for rows in positives[::40]:
        mask = decode_rle(rows)
        assert mask.any()
        again = encode_rle(mask)
        assert np.array_equal(decode_rle([again]), mask)
        assert len(rows) > 1 or again == rows[0].strip()
