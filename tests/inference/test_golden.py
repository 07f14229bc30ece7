"""The golden case passes on the bundle it was made for and on no other."""

import json
from pathlib import Path

import numpy as np
import pytest

from chestseg.bundle import Bundle, load_bundle, save_bundle
from chestseg.inference.golden import check_golden, make_golden
from tests.inference import tiny_volume
from tests.inference.tiny import TINY, tiny_network, tiny_spec


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    image = np.random.default_rng(1).integers(0, 256, (96, 80), dtype=np.uint8)
    weights = tiny_network().state_dict()
    return save_bundle(tmp_path / "bundle", tiny_spec(), weights, make_golden(tiny_spec(), weights, image))


def test_passes_where_it_was_made(bundle: Bundle) -> None:
    golden = bundle.golden()
    assert golden is not None
    assert golden.probabilities.shape == (64, 64) and np.ptp(golden.probabilities) > 0.1
    assert check_golden(load_bundle(bundle.folder)) < 1e-4


def test_other_weights_are_found_out(bundle: Bundle) -> None:
    forged = save_bundle(bundle.folder, bundle.spec, tiny_network(TINY, seed=1).state_dict(), bundle.golden())
    with pytest.raises(ValueError, match=r"golden case is off by 0\.\d+, more than 0\.001: install the chestseg that made it"):
        check_golden(forged)


@pytest.mark.parametrize("change", [{"mean": 0.5}, {"size": 96}])
def test_other_preprocessing_is_found_out(bundle: Bundle, change: dict[str, float]) -> None:
    path = bundle.folder / "bundle.json"
    tree = json.loads(path.read_text())
    tree["preprocessing"] |= change
    path.write_text(json.dumps(tree))
    with pytest.raises(ValueError, match="golden case"):
        check_golden(load_bundle(bundle.folder))


def test_absence_is_said(tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", tiny_spec(), tiny_network().state_dict())
    with pytest.raises(ValueError, match="carries no golden case"):
        check_golden(bundle)


def test_volumes_have_theirs(tmp_path: Path) -> None:
    spec, weights = tiny_volume.tiny_spec(lungs_only=True), tiny_volume.tiny_network().state_dict()
    image = np.random.default_rng(1).integers(0, 256, (12, 32, 40), dtype=np.uint8)
    bundle = save_bundle(tmp_path / "bundle", spec, weights, make_golden(spec, weights, image))
    golden = bundle.golden()
    assert golden is not None and golden.probabilities.dtype == np.float32
    assert golden.probabilities.shape == image.shape and np.ptp(golden.probabilities) > 0.1
    assert check_golden(load_bundle(bundle.folder)) < 1e-4
    tree = json.loads((bundle.folder / "bundle.json").read_text())
    tree["preprocessing"] |= {"mean": 0.5}
    (bundle.folder / "bundle.json").write_text(json.dumps(tree))
    with pytest.raises(ValueError, match="golden case is off by"):
        check_golden(load_bundle(bundle.folder))
