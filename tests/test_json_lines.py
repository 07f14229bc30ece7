"""Appended lines outlive kills: whole ones stay, a torn one goes."""

from pathlib import Path

import pytest

from chestseg.json_lines import append_lines, cut_torn_line, read_lines


def lines(path: Path) -> list[dict]:
    return [fields for fields, _ in read_lines(path)]


def test_reads_back_what_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    assert lines(path) == []
    append_lines(path, [{"a": 1}, {"b": "two\nlines"}])
    append_lines(path, [{"c": [0.1]}])
    assert lines(path) == [{"a": 1}, {"b": "two\nlines"}, {"c": [0.1]}]


def test_a_file_torn_at_any_byte_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"first": 1}, {"second": 2}])
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = whole[:size].count(b"\n")
        assert len(lines(path)) == kept
        append_lines(path, [{"third": 3}])
        assert lines(path) == [*[{"first": 1}, {"second": 2}][:kept], {"third": 3}]


def test_cutting_makes_the_file_and_leaves_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    cut_torn_line(path)
    assert path.read_bytes() == b""
    append_lines(path, [{"a": 1}])
    cut_torn_line(path)
    assert lines(path) == [{"a": 1}]


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"a": 1}, {"b": 2}])
    (_, first), (_, second) = read_lines(path)
    assert [fields for fields, _ in read_lines(path, first)] == [{"b": 2}]
    assert list(read_lines(path, second)) == []


def test_a_line_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("no\n")
    with pytest.raises(ValueError):
        lines(path)
