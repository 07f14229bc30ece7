"""A bundle comes back as it was saved, and anything else is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from chestseg.bundle import Bundle, GoldenCase, load_bundle, save_bundle
from chestseg.config import UNet2DModel
from tests.inference.tiny import TINY, tiny_network, tiny_spec

GOLDEN = GoldenCase(np.arange(12, dtype=np.uint8).reshape(3, 4), np.full((64, 64), 0.25, np.float32), 1e-3)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return tiny_network().to(memory_format=torch.channels_last).state_dict()


@pytest.fixture
def bundle(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Bundle:
    return save_bundle(tmp_path / "bundle", tiny_spec(), weights, GOLDEN)


def rewrite(bundle: Bundle, **changes: object) -> None:
    path = bundle.folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_comes_back_as_it_was_saved(bundle: Bundle, weights: dict[str, torch.Tensor]) -> None:
    loaded = load_bundle(bundle.folder)
    assert loaded == bundle
    assert loaded.spec.model_copy(update={"files": {}}) == tiny_spec()
    network = loaded.build_model()
    assert not network.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    golden = loaded.golden()
    assert golden is not None and golden.tolerance == GOLDEN.tolerance
    assert (golden.image == GOLDEN.image).all() and (golden.probabilities == GOLDEN.probabilities).all()


def test_golden_case_is_optional(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    save_bundle(tmp_path / "bundle", tiny_spec(), weights)
    assert load_bundle(tmp_path / "bundle").golden() is None


def test_equal_content_gives_equal_bytes_and_digest(bundle: Bundle, tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    again = save_bundle(tmp_path / "again", tiny_spec(), weights, GOLDEN)
    for file in ("bundle.json", "model.safetensors", "golden.npz"):
        assert (again.folder / file).read_bytes() == (bundle.folder / file).read_bytes()
    other = save_bundle(tmp_path / "other", tiny_spec(), {k: v + 1 for k, v in weights.items()}, GOLDEN)
    assert again.digest == bundle.digest != other.digest


def test_description_reads_from_top_to_bottom(bundle: Bundle) -> None:
    lines = (bundle.folder / "bundle.json").read_text().splitlines()
    assert lines[1:3] == ['  "format": 1,', '  "name": "tiny",']


def test_takes_the_place_of_an_older_one(bundle: Bundle, weights: dict[str, torch.Tensor]) -> None:
    save_bundle(bundle.folder, tiny_spec(), weights)
    assert {file.name for file in bundle.folder.iterdir()} == {"bundle.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"format": 2}, "format 2, this chestseg reads up to 1: install"),
        ({"format": None}, "no format number"),
        ({"postprocesing": {}}, "postprocesing: no such key"),
        ({"labels": 3}, "labels: "),
        ({"files": {"../../etc/passwd": "0"}}, "files names ../../etc/passwd"),
        ({"files": {}}, "files names none"),
    ],
)
def test_description_that_is_none_is_refused(bundle: Bundle, changes: dict[str, object], finding: str) -> None:
    rewrite(bundle, **changes)
    with pytest.raises(ValueError, match=r"^[^\n]*bundle\.json: ") as error:
        load_bundle(bundle.folder)
    assert finding in str(error.value)


def test_unreadable_description_is_refused(bundle: Bundle) -> None:
    (bundle.folder / "bundle.json").write_text('{"format": 1, ')
    with pytest.raises(ValueError, match=r"bundle\.json: unreadable .*copy the bundle again"):
        load_bundle(bundle.folder)


def test_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent: no such folder: give a bundle's folder"):
        load_bundle(tmp_path / "absent")
    with pytest.raises(ValueError, match="no bundle, it has no bundle.json"):
        load_bundle(tmp_path)


def test_changed_cut_or_missing_file_is_named(bundle: Bundle) -> None:
    file = bundle.folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="model.safetensors: its SHA-256 .*copy the bundle again"):
        load_bundle(bundle.folder)
    file.unlink()
    with pytest.raises(ValueError, match="model.safetensors: missing"):
        load_bundle(bundle.folder)


def test_weights_of_another_network_are_refused(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    other = TINY.model_copy(update={"empty_head": True})
    bundle = save_bundle(tmp_path / "bundle", tiny_spec(other), weights)
    with pytest.raises(ValueError, match=r"^[^\n]*model.safetensors: not the weights of the mobilenet_v2 network"):
        load_bundle(bundle.folder).build_model()


def test_no_pickle_is_loaded(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    pickled = GoldenCase(np.array([{}], dtype=object), GOLDEN.probabilities, 1e-3)
    bundle = save_bundle(tmp_path / "bundle", tiny_spec(), weights, pickled)
    with pytest.raises(ValueError, match="golden.npz: not a golden case .*allow_pickle"):
        load_bundle(bundle.folder).golden()


def test_weights_path_of_the_training_machine_is_not_followed(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    elsewhere = UNet2DModel(**TINY.model_dump() | {"weights": "/nowhere/start.safetensors"})
    assert load_bundle(save_bundle(tmp_path / "bundle", tiny_spec(elsewhere), weights).folder).build_model()
