"""One predictor: sizes, mirrors, batches, modes and devices."""

from pathlib import Path

import numpy as np
import pytest
import torch

from chestseg.bundle import save_bundle
from chestseg.config import Postprocessing
from chestseg.inference.predictor import LiveModel, Predictor, find_device
from chestseg.preprocessing import Preprocessing
from tests.inference.tiny import SIZE, TINY, bright, tiny_network, tiny_spec

NOISE = [np.random.default_rng(case).integers(0, 256, (80 + case, 100), dtype=np.uint8) for case in range(5)]


def chest(shape: tuple[int, int] = (300, 200)) -> np.ndarray:
    """A bright rectangle, off centre, on a dark field."""
    image = np.full(shape, 30, np.uint8)
    image[shape[0] // 5 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 200
    return image


@pytest.fixture(scope="module")
def tiny() -> LiveModel:
    return LiveModel(tiny_network(), Preprocessing(size=SIZE), Postprocessing())


@pytest.mark.parametrize("shape", [(64, 64), (300, 200), (50, 333), (1024, 1024)])
def test_mask_lies_on_the_source(shape: tuple[int, int]) -> None:
    [found] = Predictor(bright()).predict([chest(shape)])
    truth = chest(shape) == 200
    assert found.mask.shape == shape and found.mask.dtype == np.uint8
    # The edges may be off by half a pixel of the network's size on each side.
    slack = (shape[0] / SIZE + 1) * truth.any(0).sum() + (shape[1] / SIZE + 1) * truth.any(1).sum()
    assert (found.mask.astype(bool) ^ truth).sum() <= slack
    assert found.present and found.area_px == found.mask.sum()
    assert found.probabilities.shape == (SIZE, SIZE) and found.probability == found.probabilities.max()


def test_masks_of_another_size_when_asked_for() -> None:
    [found] = Predictor(bright()).predict([chest()], (128, 96))
    assert found.mask.shape == (128, 96)


def test_nothing_bright_is_nothing_found() -> None:
    [found] = Predictor(bright()).predict([np.zeros((70, 90), np.uint8)])
    assert not found.present and found.area_px == 0 and found.probability < 0.01


def test_no_image_no_prediction() -> None:
    assert Predictor(bright()).predict([]) == []


def test_head_speaks_for_the_disease() -> None:
    [found] = Predictor(bright(Postprocessing(empty_threshold=0.5), disease=0.25)).predict([chest()])
    assert found.probability == pytest.approx(0.25) and not found.present


def test_head_of_the_network_is_averaged_over_the_mirror() -> None:
    network = tiny_network(TINY.model_copy(update={"empty_head": True}))
    model = LiveModel(network, Preprocessing(size=SIZE), Postprocessing(flip_tta=True))
    image = NOISE[0]
    [both] = Predictor(model, precision="fp32").probabilities([image])
    single = Predictor(model._replace(postprocessing=Postprocessing(flip_tta=False)), precision="fp32")
    straight, mirrored = single.probabilities([image, np.ascontiguousarray(image[:, ::-1])])
    assert straight.disease is not None and mirrored.disease is not None
    assert both.disease == pytest.approx((straight.disease + mirrored.disease) / 2, abs=1e-4)
    np.testing.assert_allclose(both.mask, (straight.mask + mirrored.mask[:, ::-1]) / 2, atol=1e-4)


def test_mirrored_image_gives_the_mirrored_map(tiny: LiveModel) -> None:
    predictor = Predictor(tiny, precision="fp32")
    straight, mirrored = predictor.probabilities([NOISE[0], np.ascontiguousarray(NOISE[0][:, ::-1])])
    np.testing.assert_allclose(straight.mask, mirrored.mask[:, ::-1], atol=1e-4)


def test_equal_calls_give_equal_bits_and_batches_agree(tiny: LiveModel) -> None:
    together = Predictor(tiny, precision="fp32", batch=5).probabilities(NOISE)
    again = Predictor(tiny, precision="fp32", batch=5).probabilities(NOISE)
    alone = Predictor(tiny, precision="fp32", batch=1).probabilities(NOISE)
    uneven = Predictor(tiny, precision="fp32", batch=2).probabilities(NOISE)
    for one, two, three, four in zip(together, again, alone, uneven, strict=True):
        assert (one.mask == two.mask).all()
        np.testing.assert_allclose(three.mask, one.mask, atol=1e-4)
        np.testing.assert_allclose(four.mask, one.mask, atol=1e-4)


def test_bf16_stays_near_float32(tiny: LiveModel) -> None:
    half = Predictor(tiny, precision="bf16").probabilities(NOISE)
    full = Predictor(tiny, precision="fp32").probabilities(NOISE)
    assert all(h.mask.dtype == np.float32 for h in half)
    assert np.mean([np.abs(h.mask - f.mask).mean() for h, f in zip(half, full, strict=True)]) < 0.02


def test_bundle_and_live_model_are_one(tiny: LiveModel, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle", tiny_spec(), tiny.network.state_dict())
    saved = Predictor(bundle, device="cpu", precision="fp32").probabilities(NOISE[:2])
    live = Predictor(tiny, precision="fp32").probabilities(NOISE[:2])
    for one, other in zip(saved, live, strict=True):
        np.testing.assert_allclose(one.mask, other.mask, atol=1e-4)


def test_training_goes_on_as_it_was(tiny: LiveModel) -> None:
    network = tiny_network()
    network.train()
    network.encoder.eval()
    modes = [module.training for module in network.modules()]
    statistics = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = Predictor(tiny._replace(network=network), precision="fp32").probabilities(NOISE[:1])
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in network.state_dict().items())
    np.testing.assert_allclose(found[0].mask, Predictor(tiny, precision="fp32").probabilities(NOISE[:1])[0].mask, atol=1e-4)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8), np.uint8), np.zeros((8, 8), np.uint16)]
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"give uint8 arrays of \(height, width\)"):
        Predictor(bright()).predict([image])


def test_network_that_diverged_is_not_taken_for_an_empty_mask() -> None:
    model = bright()
    model.network.gain.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="its training diverged"):
        Predictor(model).predict([chest()])


def test_devices_by_name() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ValueError, match="device 'gpu': give auto, cpu"):
        find_device("gpu")
    with pytest.raises(ValueError, match="PyTorch sees"):
        find_device("cuda:99")


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(tiny: LiveModel, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    bundle = save_bundle(tmp_path / "bundle", tiny_spec(), tiny.network.state_dict())
    fast = Predictor(bundle, device="cuda", precision="fp32").probabilities(NOISE)
    slow = Predictor(bundle, device="cpu", precision="fp32").probabilities(NOISE)
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one.mask, other.mask, atol=1e-2)
