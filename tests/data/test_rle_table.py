"""The table of masks: finding it and reading it."""

import gzip
from pathlib import Path

import pytest

from chestseg.data.rle_table import Row, find_table, read_table

TEXT = "ImageId, EncodedPixels\na, -1\nb, 1 2\nb, 9 2\n"
ROWS = {"a": [Row("-1", 2)], "b": [Row("1 2", 3), Row("9 2", 4)]}


def table(folder: Path, text: str, name: str = "train-rle.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_header_and_values_may_have_spaces_around_them(tmp_path):
    assert read_table(table(tmp_path, TEXT)) == ROWS
    assert read_table(table(tmp_path, TEXT.replace(", ", ","))) == ROWS
    assert read_table(table(tmp_path, "\ufeff" + TEXT.replace("\n", "\r\n") + "\r\n")) == ROWS


def test_columns_are_found_by_name(tmp_path):
    assert read_table(table(tmp_path, "split,EncodedPixels,ImageId\ntrain,-1,a\n")) == {"a": [Row("-1", 2)]}


def test_a_gzipped_table(tmp_path):
    path = tmp_path / "train-rle.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert read_table(path) == ROWS


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "its columns are ''"),
        ("ImageId,Pixels\na,-1\n", "its columns are 'ImageId, Pixels': ImageId and EncodedPixels are needed"),
        ("ImageId,EncodedPixels\na\n", "line 2 has no EncodedPixels"),
        ("ImageId,EncodedPixels\n\n ,-1\n", "line 3 has no ImageId"),
        (TEXT + "a, 3 4\n", "lines 2, 5 repeat or contradict each other about a"),
        (TEXT + "a, -1\n", "lines 2, 5 repeat or contradict each other about a"),
        (TEXT + "b,1 2\n", "lines 3, 4, 5 repeat or contradict each other about b"),
        ("ImageId,EncodedPixels\na," + "1 " * 100_000, "not a readable table .field larger"),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path, text, finding):
    path = table(tmp_path, text)
    with pytest.raises(ValueError, match=finding) as error:
        read_table(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(TEXT.encode())[:-12], gzip.compress(b"\xff\xfe\x00")], ids=["none", "cut", "not text"]
)
def test_a_damaged_gzip_is_refused(tmp_path, data):
    path = tmp_path / "train-rle.csv.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="train-rle.csv.gz: not a readable table"):
        read_table(path)


def test_stage_2_comes_before_stage_1_and_that_before_others(tmp_path):
    with pytest.raises(ValueError, match="no table of masks"):
        find_table(tmp_path)
    for name in ("train-rle-sample.csv", "train-rle.csv.gz", "train-rle.csv", "stage_2_train.csv"):
        path = table(tmp_path, TEXT, name)
        assert find_table(tmp_path) == path


def test_two_others_are_not_chosen_between(tmp_path):
    table(tmp_path, TEXT, "train-rle-full.csv")
    table(tmp_path, TEXT, "train-rle-sample.csv")
    with pytest.raises(ValueError, match="train-rle-full.csv and train-rle-sample.csv could both be the table"):
        find_table(tmp_path)
