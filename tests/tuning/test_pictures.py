"""Each picture is an SVG that says what its data say, the same for the same data, whatever there is to draw."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from chestseg.tuning.importance import Importance, importance, standing
from chestseg.tuning.parameter_pictures import ABSENT, Axis, draw_parallel, draw_slices, varying
from chestseg.tuning.pictures import MOST_ROWS, draw_front, draw_importance, draw_progress, draw_schedules, draw_windows
from chestseg.tuning.result import Outcome
from tests.tuning.outcomes import conduct


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return conduct(tmp_path_factory.mktemp("sweep"), finished=False, trials=16)


def texts(svg: bytes) -> list[str]:
    """What is written in it: letters are drawn as shapes, each text's words are kept in a comment."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    comments = [node.text for node in ElementTree.fromstring(svg, parser).iter(ElementTree.Comment)]  # type: ignore[arg-type]
    return [text.strip() for text in comments if text]


def test_progress_names_rungs_states_and_the_best(outcome: Outcome):
    written = texts(draw_progress(outcome))
    assert {"rung 1", "rung 2", "finished", "stopped", "Dice on positives"} <= set(written)
    assert f"trial {outcome.best.number}" in written
    assert "failed" not in written, "a trial without a report is not drawn"


def test_the_same_records_give_the_same_bytes(outcome: Outcome):
    assert draw_progress(outcome) == draw_progress(outcome)


def test_schedules_have_a_row_each(outcome: Outcome):
    written = texts(draw_schedules(outcome))
    rows = [text for text in written if "px" in text]
    assert 1 < len(rows) <= MOST_ROWS
    ended = [r for r in outcome.records if r.values]
    assert sum(int(row.rpartition("(")[2].rstrip(")")) for row in rows) == len(ended)


def test_windows_and_importance_and_parameters(outcome: Outcome):
    window = outcome.best.extra["window"]
    assert "chosen" in texts(draw_windows(window["table"], window["metric"]))
    shares = importance(outcome.records, standing(outcome.records))
    assert {one.name for one in shares} <= set(texts(draw_importance(shares)))
    shown = varying(outcome, [one.name for one in shares])
    assert {axis.name for axis in shown} <= set(texts(draw_slices(outcome, shown)))
    assert "not there" in texts(draw_parallel(outcome, shown))


def test_an_axis_places_values_on_its_scale(outcome: Outcome):
    ended = [record for record in outcome.records if record.values]
    rate = Axis("lr.last", ended)
    low, high = rate.values[0], rate.values[-1]
    assert (rate.log, rate.place(low), rate.place(high)) == (True, 0.0, 1.0)
    assert rate.place((low * high) ** 0.5) == pytest.approx(0.5)
    assert len(rate.ticks) == 3
    size = Axis("size.last", ended)
    assert size.ticks == sorted({record.params["size.last"] for record in ended})
    encoder = Axis("encoder", ended)
    assert [encoder.place(value) for value in encoder.values] == [0.0, 1.0]
    assert encoder.label("timm-tf_efficientnet_lite0") == "timm-tf_effic…"
    assert ABSENT < 0


def test_two_objectives(tmp_path: Path):
    outcome = conduct(tmp_path, second="flops", pruner=None, trials=6, windows=None)
    written = texts(draw_front(outcome))
    assert {str(record.number) for record in outcome.front} <= set(written)
    assert "FLOPs of the model" in written


def test_nothing_to_draw(outcome: Outcome):
    empty = replace(outcome, records=[])
    assert b"<svg" in draw_progress(empty)
    assert b"<svg" in draw_importance([Importance("lr", 0.0, 0.0, 3)])
