"""A window chosen after a training is as good as one set before it, bit by bit, and the choice keeps to its share."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from chestseg.config import Experiment, Swa, Windows
from chestseg.training.averaging import window
from chestseg.training.window_scores import LocalScorer
from chestseg.training.windows import Window, WindowResult, candidates, choose, final_weights, with_window
from tests.training.tails_in_memory import DATASETS, TAIL, tailed, trained

TRACKS = ("cxr", "ct")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Bit-identity is promised for a stated number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tails(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a trained run in each track; its own window is the last epoch."""
    folders = {track: tmp_path_factory.mktemp(track) for track in TRACKS}
    for track, folder in folders.items():
        trained(tailed(track, {"last": 1}), folder)
    return folders


def chosen(experiment: Experiment, folder: Path, metric: str = "val_dice", **spec: object) -> WindowResult:
    """Chosen in this process; shares may be larger than a sweep allows, as these trainings are tiny."""
    dataset = DATASETS[experiment.track]()
    return choose(experiment, dataset, Windows(tail=TAIL).model_copy(update=spec), LocalScorer(experiment, dataset, folder), metric)


@pytest.mark.parametrize(("tail", "found"), [(1, 1), (5, 22), (6, 24), (12, 24), (40, 24)])
def test_candidates_are_different_windows_of_the_tail(tail: int, found: int) -> None:
    windows = candidates(tail, 49, 24)
    epochs = {tuple(w.epochs(49)) for w in windows}
    assert len(epochs) == len(windows) == found
    assert all(50 - tail <= e <= 49 for span in epochs for e in span)
    assert {(49,), tuple(range(50 - tail, 50))} <= epochs
    assert all(window(Swa(**w._asdict()), 49) == w.epochs(49) for w in windows)


def test_a_stage_shorter_than_the_tail_has_the_windows_of_its_epochs() -> None:
    assert candidates(9, 1, 24) == [Window(0, 1, 1), Window(1, 1, 1), Window(0, 2, 1)]


@pytest.mark.parametrize("track", TRACKS)
def test_final_weights_have_the_bits_of_a_training_with_that_window_and_the_score_is_its_validation(
    track: str, tails: dict[str, Path], tmp_path: Path
) -> None:
    experiment = tailed(track, {"last": 1})
    result = chosen(experiment, tails[track], share=4.0, batch_norm_batches=4)
    assert len(result.rounds) == 1 and result.rounds[0].cases == result.held_out
    beforehand = tailed(track, {"skip": 1, "last": 3, "stride": 2})
    assert with_window(experiment, Window(1, 3, 2)) == beforehand
    final, reports = trained(beforehand, tmp_path)
    after = final_weights(beforehand, DATASETS[track](), tails[track])
    one, other = load_file(final), load_file(after)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    [row] = [row for row in result.table if row.epochs == (3, 5)]
    assert row.score == reports[-2].metrics["final_val_dice"]


@pytest.mark.parametrize(("track", "share"), [("cxr", 0.7), ("ct", 1.2)])
def test_a_tight_share_halves_the_windows_and_is_kept(track: str, share: float, tails: dict[str, Path]) -> None:
    result = chosen(tailed(track, {"last": 1}), tails[track], share=share)
    assert json.loads(json.dumps(dataclasses.asdict(result)))["swa"] == result.swa == {**result.window._asdict(), "tail": TAIL}
    assert len(result.table) == 24 and result.table[0].epochs == tuple(result.window.epochs(6))
    assert len(result.rounds) > 1 and result.rounds[0].windows == 24
    assert {row.cases for row in result.table} == {round_.cases for round_ in result.rounds}
    assert result.share <= share and not result.told
    assert result.check.batches <= result.check.epoch_batches and 0 < result.check.probability_mean <= result.check.probability_largest < 1
    assert result == chosen(tailed(track, {"last": 1}), tails[track], share=share)


def test_what_cannot_be_had_is_told(tails: dict[str, Path]) -> None:
    short = tailed("cxr", {"last": 1, "tail": 5})
    result = chosen(short, tails["cxr"], share=0.01)
    assert len(result.table) == 22
    assert [line.split(",")[0] for line in result.told] == [
        "a tail of 5 epochs has 22 windows", f"scoring costs {result.share:.0%} of the trial's compute at least",
    ]  # fmt: skip


def test_where_no_batch_norm_learns_nothing_is_re_estimated(tmp_path: Path) -> None:
    experiment = tailed("cxr", {"last": 1}, frozen=["encoder", "batch_norm"], epochs=6)
    dataset = DATASETS["cxr"]()
    trained(experiment, tmp_path)
    scorer = LocalScorer(experiment, dataset, tmp_path)
    assert scorer.has_norms, "the decoder's statistics still move"
    encoder = {name for name in load_file(tmp_path / "final.safetensors") if ".encoder." in name and "num_batches" not in name}
    assert not encoder & set(load_file(scorer.run.snapshots.path(0, 1))), "stored once, with the first epoch"


@pytest.mark.parametrize(
    ("experiment", "metric", "told"),
    [
        (tailed("cxr", {}).model_copy(update={"fold": "all"}), "val_dice", "fold is `all`"),
        (tailed("cxr", {}, early_stop=2), "val_dice", "early_stop: the tail's place"),
        (tailed("cxr", None), "val_dice", "swa is null"),
        (tailed("cxr", {}), "loss", "metric loss: windows are scored by one of val_dice,"),
    ],
)
def test_a_mistake_is_named(experiment: Experiment, metric: str, told: str, tails: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=told):
        chosen(experiment, tails["cxr"], metric)


def test_a_missing_snapshot_is_named(tmp_path: Path) -> None:
    experiment = tailed("cxr", {"last": 1})
    with pytest.raises(ValueError, match=r"stage0-epoch\d{4}.safetensors: this epoch's weights are missing"):
        chosen(experiment, tmp_path)
