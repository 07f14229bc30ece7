"""From prepared cases to a rule in a bundle; and that nothing of the test split has a part in it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import load_bundle
from chestseg.config import Postprocessing, Source, VolumeData, VolumePostprocessing, experiment_from, load_experiment
from chestseg.config.postprocessing import Objective
from chestseg.data.manifest import write_table
from chestseg.data.prepared import PreparedDataset, array_path, shard_folder
from chestseg.data.prepared_volumes import PreparedVolumes
from chestseg.evaluation.choose import choose, require_choosable
from chestseg.evaluation.choose_radiographs import Candidates
from chestseg.evaluation.choose_volumes import VolumeCandidates
from chestseg.evaluation.conclude import CHOICE, PROBABILITIES, conclude
from chestseg.evaluation.probabilities import ProbabilityCache, TrainedNetwork
from chestseg.evaluation.volumes import evaluate_volumes
from chestseg.evaluation.write_probabilities import write_probabilities
from chestseg.inference.predictor import LiveModel, Predictor
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.nifti import write_nifti
from tests.data.pictures import prepare_plainly
from tests.evaluation.caches import of_volumes, origin, random_case, write_made
from tests.evaluation.prepared import SIZES, write_prepared
from tests.inference.tiny import TINY, bright, tiny_network
from tests.inference.tiny_volume import PREPROCESSING, SPACING, WINDOW, Smear, chest


def caches(tmp_path: Path, **changes: object) -> list[ProbabilityCache]:
    """Two folds of thirty random cases."""
    made = [random_case(seed) for seed in range(60)]
    return [write_made(tmp_path / str(fold), made[30 * fold : 30 * fold + 30], origin(30, fold, **changes)) for fold in (0, 1)]


def folds_of(dataset: PreparedDataset, folder: Path) -> list[ProbabilityCache]:
    """What a network that knows grey values only says of folds 0 and 1, each time as one that did not see the fold."""
    networks = [TrainedNetwork(digest="abc", dataset_hash=dataset.hash, held_out=fold) for fold in (0, 1)]
    return [write_probabilities(folder / str(n.held_out), Predictor(bright()), dataset, n) for n in networks]


def test_the_best_rule_over_both_folds_together(tmp_path: Path) -> None:
    both = caches(tmp_path)
    choice = choose(both)
    assert isinstance(choice.rule, Postprocessing) and choice.surface.cases == 60 and choice.surface.positives == 40
    assert choice.surface.at(choice.place)["mean_dice"] == pytest.approx(np.nanmax(choice.surface.scores["mean_dice"]), abs=1e-9)
    assert choose(both[::-1]).place == choice.place
    assert [choose([cache]).surface.cases for cache in both] == [30, 30]


def test_a_floor_of_specificity_is_kept(tmp_path: Path) -> None:
    both = caches(tmp_path)
    free, strict = (choose(both, Objective(name="dice_positives", least_specificity=floor)) for floor in (0.0, 0.9))
    assert strict.surface.at(strict.place)["specificity"] >= 0.9 > free.surface.at(free.place)["specificity"]
    assert strict.surface.at(strict.place)["dice_positives"] <= free.surface.at(free.place)["dice_positives"]


def test_the_whole_surface_is_kept(tmp_path: Path) -> None:
    choice = choose(caches(tmp_path))
    choice.save(tmp_path / "choice")
    with np.load(tmp_path / "choice" / "surface.npz") as stored:
        names = stored["axes"].tolist()
        assert names == ["threshold", "top_threshold", "min_area", "empty_threshold"]
        assert stored["mean_dice"].shape == tuple(len(stored[f"axis_{name}"]) for name in names) == (19, 19, 14, 1)
        np.testing.assert_array_equal(stored["specificity"], choice.surface.scores["specificity"])
    summary = json.loads((tmp_path / "choice" / "choice.json").read_text())
    assert Postprocessing.model_validate(summary["rule"]) == choice.rule
    assert (summary["objective"]["name"], summary["cases"], summary["ties"]) == ("mean_dice", 60, choice.ties)
    assert [made["fold"] for made in summary["from"]] == [0, 1]


def overwrite(dataset: PreparedDataset, indices: np.ndarray) -> None:
    """Noise with masks everywhere in place of cases."""
    for size in SIZES:
        for kind, top in (("image", 256), ("mask", 2)):
            path = array_path(shard_folder(dataset.folder, 0), kind, size)
            planes = np.load(path)
            planes[indices] = np.random.default_rng(0).integers(0, top, (len(indices), size, size))
            np.save(path, planes)


def test_pixels_of_the_test_split_change_nothing(tmp_path: Path) -> None:
    """The whole way from prepared arrays to the rule, with what the test split holds replaced by noise that has masks everywhere."""
    dataset = write_prepared(tmp_path / "prepared")
    first = choose(folds_of(dataset, tmp_path / "first"))
    overwrite(dataset, dataset.indices("test"))
    second = choose(folds_of(dataset, tmp_path / "second"))
    assert second.rule == first.rule and second.surface.cases == 6
    for name, values in first.surface.scores.items():
        np.testing.assert_array_equal(second.surface.scores[name], values)


def test_a_choice_at_the_edge_of_the_candidates_is_told(tmp_path: Path) -> None:
    both = caches(tmp_path)
    few = Candidates(threshold=(0.01, 0.02), top_threshold=(0.01, 0.02), min_area=(0,), empty_threshold=(0,))
    assert choose(both, candidates=few).at_edge == ["threshold", "top_threshold"]
    assert replace(choose(both), place=(3, 9, 0, 0)).at_edge == []


def test_the_test_split_is_refused(tmp_path: Path) -> None:
    dataset = write_prepared(tmp_path / "prepared")
    trained = TrainedNetwork(digest="abc", dataset_hash=dataset.hash, held_out=0)
    test = write_probabilities(tmp_path / "test", Predictor(bright()), dataset, trained, split="test")
    assert [case.case_id for case in test] == ["case-6", "case-7", "case-8"]
    for given in ([test], [*folds_of(dataset, tmp_path), test]):
        with pytest.raises(ValueError, match="test: probabilities of the test split: .* held out of training only"):
            choose(given)


def test_cases_the_network_learned_from_are_refused(tmp_path: Path) -> None:
    dataset = write_prepared(tmp_path / "prepared")
    for held_out, reason in (
        (0, "probabilities of fold 1, and the network held out fold 0"),
        ("all", "the network held none out"),
        (None, "is not known to have held any out"),
    ):
        trained = TrainedNetwork.model_validate({"digest": "abc", "dataset_hash": dataset.hash, "held_out": held_out})
        cache = write_probabilities(tmp_path / str(held_out), Predictor(bright()), dataset, trained, fold=1)
        with pytest.raises(ValueError, match=reason):
            choose([cache])
    other = TrainedNetwork(digest="abc", dataset_hash="0123", held_out=1)
    with pytest.raises(ValueError, match="the network learned from 0123, maybe from these cases"):
        choose([write_probabilities(tmp_path / "other", Predictor(bright()), dataset, other)])


def test_folds_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    zero, one = caches(tmp_path / "a")
    elsewhere = caches(tmp_path / "b", postprocessing=Postprocessing(flip_tta=False))[1]
    with pytest.raises(ValueError, match="two ways to see one"):
        choose([zero, elsewhere])
    with pytest.raises(ValueError, match="both are fold 1: give each fold once"):
        choose([one, zero, one])


def test_nothing_to_choose_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no cached probabilities to choose post-processing on"):
        choose([])
    with pytest.raises(ValueError, match="no cached probabilities to choose post-processing on"):
        choose([write_made(tmp_path / "none", [], origin(0))])
    well, ill = ([random_case(seed) for seed in range(9) if bool(seed % 3) == positive] for positive in (False, True))
    with pytest.raises(ValueError, match="none of 3 cases is positive: .* give folds with positives"):
        choose([write_made(tmp_path / "well", well, origin(3))])
    with pytest.raises(ValueError, match="all 6 cases are positive: .* without negatives"):
        choose([write_made(tmp_path / "ill", ill, origin(6))])


def test_candidates_must_fit(tmp_path: Path) -> None:
    [cache, _] = caches(tmp_path)
    with pytest.raises(ValueError, match=r"threshold 0\.333: .* steps of 0\.01"):
        choose([cache], candidates=Candidates(threshold=(0.333,)))
    with pytest.raises(ValueError, match="VolumeCandidates for .*: give candidates of the cache's track"):
        choose([cache], candidates=VolumeCandidates())


def test_volumes_without_negatives_have_a_rule(tmp_path: Path) -> None:
    ill = [random_case(seed, (6, 12, 12)) for seed in (1, 2, 4, 5)]
    cache = write_made(tmp_path, ill, of_volumes(4))
    choice = choose([cache])
    assert isinstance(choice.rule, VolumePostprocessing) and "specificity" not in choice.surface.at(choice.place)
    choice.save(tmp_path / "choice")
    with pytest.raises(ValueError, match="needs cases without disease and there are none"):
        choose([cache], Objective(least_specificity=0.5))


def test_volumes_from_prepared_to_the_score_of_the_rule(tmp_path: Path) -> None:
    """At the network's own spacing the surface's score is that of an evaluation with the rule."""
    hu, _, infiltrates = chest()
    grid = Grid.upright((hu.shape[0], hu.shape[1], hu.shape[2]), SPACING)
    for case_id, mask in {"1": infiltrates, "2": infiltrates & (np.arange(60) < 30), "3": np.zeros_like(infiltrates)}.items():
        write_nifti(tmp_path / "set" / "images" / f"{case_id}.nii.gz", Volume(np.where(mask == infiltrates, hu, np.int16(-850)), grid))
        write_nifti(tmp_path / "set" / "masks" / f"{case_id}.nii.gz", Volume(mask.astype(np.uint8), grid))
    source = Source(reader="nifti_folder", path=str(tmp_path / "set"))
    prepare_plainly(
        VolumeData(sources=(source,), prepared=str(tmp_path / "out"), spacings=(SPACING,), window=WINDOW, folds=2, test_share=0)
    )
    dataset = PreparedVolumes.open(tmp_path / "out")
    model = LiveModel(Smear(), PREPROCESSING, VolumePostprocessing())
    networks = [TrainedNetwork(digest="abc", dataset_hash=dataset.hash, held_out=fold) for fold in (0, 1)]
    choice = choose([write_probabilities(tmp_path / str(n.held_out), VolumePredictor(model), dataset, n) for n in networks])
    result = evaluate_volumes(VolumePredictor(model._replace(postprocessing=choice.rule)), dataset, range(3))
    assert choice.surface.at(choice.place)["mean_dice"] == pytest.approx(result.summary.mean_dice, abs=1e-12)


@pytest.mark.slow
def test_the_chosen_rule_is_in_the_bundle(tmp_path: Path) -> None:
    dataset = write_prepared(tmp_path / "prepared")
    data = {"sources": [{"reader": "siim", "path": "x"}], "prepared": str(dataset.folder), "sizes": [64, 128], "folds": 2}
    tree = {"name": "small", "data": data, "model": TINY.model_dump(), "stages": [{"size": 64, "epochs": 1}], "storage": str(tmp_path)}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(tree))
    experiment = load_experiment(tmp_path / "small.yaml", ["choose={}"])
    weights = {name: tensor.contiguous() for name, tensor in tiny_network().state_dict().items()}
    save_file(weights, tmp_path / "final.safetensors")
    bundle = conclude(experiment, tmp_path / "final.safetensors", torch.device("cpu"))
    run = Path(experiment.run_folder)
    choice = json.loads((run / CHOICE / "choice.json").read_text())
    assert load_bundle(run / "bundle").spec.postprocessing == bundle.spec.postprocessing == Postprocessing.model_validate(choice["rule"])
    assert ProbabilityCache.open(run / PROBABILITIES).origin.fold == 0 and choice["cases"] == 3
    assert TrainedNetwork.of(bundle).held_out == 0
    assert {"validation_mean_dice", "validation_brier", "validation_ece", "test_mean_dice"} <= bundle.spec.metrics.keys()
    require_choosable(experiment, dataset)
    healthy = PreparedDataset(dataset.folder, dataset.table.take([0, 3]), {"dataset_hash": "x", "split": {}})
    with pytest.raises(ValueError, match="choose: fold 0 has no positive case to choose post-processing on"):
        require_choosable(experiment, healthy)
    with pytest.raises(ValueError, match="choose looks at the held-out fold and fold is `all`"):
        load_experiment(tmp_path / "small.yaml", ["choose={}", "fold=all"])


@pytest.mark.slow
def test_the_test_split_cannot_reach_the_rule_of_a_trained_bundle(tmp_path: Path) -> None:
    """The end of a training, with the test split as it was, full of noise under masks everywhere, and gone."""
    dataset = write_prepared(tmp_path / "prepared")
    data = {"sources": [{"reader": "siim", "path": "x"}], "prepared": str(dataset.folder), "sizes": [64, 128], "folds": 2}
    tree = {"name": "small", "data": data, "model": TINY.model_dump(), "stages": [{"size": 64, "epochs": 1}], "choose": {}}
    save_file({name: tensor.contiguous() for name, tensor in tiny_network().state_dict().items()}, tmp_path / "final.safetensors")
    chosen = {}
    for name in ("as it was", "noise", "gone"):
        if name == "noise":
            overwrite(dataset, dataset.indices("test"))
        if name == "gone":
            write_table(dataset.folder / "manifest.parquet", dataset.table.take(dataset.indices("train")))
        experiment = experiment_from(tree | {"storage": str(tmp_path / name)})
        bundle = conclude(experiment, tmp_path / "final.safetensors", torch.device("cpu"))
        chosen[name] = bundle.spec.postprocessing, Path(experiment.run_folder, CHOICE, "choice.json").read_bytes()
        assert any(key.startswith("test_") for key in bundle.spec.metrics) == (name != "gone")
    assert chosen["as it was"] == chosen["noise"] == chosen["gone"]
