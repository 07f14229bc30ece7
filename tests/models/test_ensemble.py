"""Several networks answer as the mean of their probabilities, wherever one network would."""

from pathlib import Path

import numpy as np
import torch

from chestseg.bundle import load_bundle, save_bundle
from chestseg.config import UNet2DModel
from chestseg.inference.golden import check_golden, make_golden
from chestseg.inference.predictor import Predictor
from chestseg.models.ensemble import Ensemble, joined
from tests.inference.tiny import SIZE, TINY, Brightness, tiny_network, tiny_spec

IMAGE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), np.uint8)


def test_the_mean_of_probabilities_and_of_the_disease_head() -> None:
    images = torch.linspace(-2, 2, 64).reshape(1, 1, 8, 8)
    members = [Brightness(0.2), Brightness(0.6)]
    members[1].gain.data.fill_(1.0)
    found = Ensemble(members)(images)
    wanted = (members[0](images).mask.sigmoid() + members[1](images).mask.sigmoid()) / 2
    torch.testing.assert_close(found.mask.sigmoid(), wanted, atol=2e-7, rtol=0)
    assert found.disease is not None
    torch.testing.assert_close(found.disease.sigmoid(), torch.tensor([0.4]))
    sure = Ensemble([Brightness(), Brightness()])(torch.full((1, 1, 2, 2), 1e6))
    assert torch.isfinite(sure.mask).all() and sure.disease is None


def test_a_bundle_of_several_networks_is_a_bundle(tmp_path: Path) -> None:
    model = UNet2DModel(**TINY.model_dump())
    networks = [tiny_network(model, seed) for seed in range(3)]
    weights = joined([network.state_dict() for network in networks])
    spec = tiny_spec(model).model_copy(update={"members": 3})
    saved = save_bundle(tmp_path / "together", spec, weights, make_golden(spec, weights, IMAGE), "# A card\n")
    bundle = load_bundle(saved.folder)
    assert bundle.spec.members == 3 and check_golden(bundle) < 1e-3
    assert (bundle.folder / "README.md").read_text() == "# A card\n"
    alone = [
        Predictor(save_bundle(tmp_path / str(n), tiny_spec(model), network.state_dict()), device="cpu", precision="fp32")
        for n, network in enumerate(networks)
    ]
    together = Predictor(bundle, device="cpu", precision="fp32").probabilities([IMAGE])[0].mask
    mean = np.mean([one.probabilities([IMAGE])[0].mask for one in alone], axis=0)
    np.testing.assert_allclose(together, mean, atol=1e-6)
    assert np.ptp([one.probabilities([IMAGE])[0].mask for one in alone], axis=0).max() > 0.01
