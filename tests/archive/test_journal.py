"""The journal outlives kills, knows its server, and lets a series that changed be done again."""

import json
from pathlib import Path

import pytest

from chestseg.archive.journal import NAME, REFUSED, STORED, Journal


def test_what_is_noted_is_settled_until_its_images_change(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "https://a")
    assert not journal.settled("2.25.5", ["1", "2"]) and not (tmp_path / "j").exists()
    journal.note("2.25.5", ["2", "1"], "2.25.1", "2.25.2", REFUSED, ["no place"])
    for known in (journal, Journal(tmp_path / "j", "https://a")):
        assert known.settled("2.25.5", ["1", "2"]) and not known.settled("2.25.5", ["1", "2", "3"])
    assert not Journal(tmp_path / "j", "https://b").settled("2.25.5", ["1", "2"])
    [line] = [json.loads(text) for text in (tmp_path / "j" / NAME).read_text().splitlines()]
    assert (line["what"], line["reasons"], line["series"]) == ("refused", ["no place"], "2.25.2")


def test_a_torn_line_does_not_count_and_is_cut(tmp_path: Path) -> None:
    Journal(tmp_path, "https://a").note("2.25.5", ["1"], "2.25.1", "2.25.2", STORED)
    with (tmp_path / NAME).open("a") as file:
        file.write('{"result": "2.25.6", "ima')
    journal = Journal(tmp_path, "https://a")
    assert journal.settled("2.25.5", ["1"]) and not journal.settled("2.25.6", ["1"])
    journal.note("2.25.6", ["1"], "2.25.1", "2.25.2", STORED)
    assert Journal(tmp_path, "https://a").settled("2.25.6", ["1"])


def test_read_only_writes_nothing(tmp_path: Path) -> None:
    Journal(tmp_path, "https://a", read_only=True).note("2.25.5", ["1"], "2.25.1", "2.25.2", STORED)
    assert not list(tmp_path.iterdir())


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("a poem\n")
    with pytest.raises(ValueError, match="not a journal .*give another --journal"):
        Journal(tmp_path, "https://a")
