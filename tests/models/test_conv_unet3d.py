"""The plain 3D U-Net: shapes, supervision, recomputing, weights from a file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from chestseg.config import ConvUNet3DModel
from chestseg.models.registry import build_model

SMALL = ConvUNet3DModel(channels=(4, 8, 16), strides=((1, 2, 2), (2, 2, 2)))


@pytest.mark.parametrize("shape", [(8, 32, 32), (5, 31, 18), (2, 8, 8)])
def test_logits_have_the_images_shape(shape: tuple[int, ...]) -> None:
    with torch.inference_mode():
        logits = build_model(SMALL).eval()(torch.randn(2, 1, *shape))
    assert logits.mask.shape == (2, 1, *shape) and logits.disease is None and logits.coarse == ()


def test_coarser_answers_are_given_in_training_only() -> None:
    network = build_model(SMALL.model_copy(update={"deep_supervision": True})).train()
    image = torch.randn(1, 1, 4, 16, 16)
    assert [answer.shape[2:] for answer in network(image).coarse] == [(4, 8, 8)]
    assert network.eval()(image).coarse == ()


def test_a_patch_is_answered_alike_alone_and_in_a_batch() -> None:
    network, images = build_model(SMALL).train(), torch.randn(3, 1, 4, 16, 16)
    torch.testing.assert_close(network(images).mask[1], network(images[1:2]).mask[0])


def test_recomputing_changes_no_gradient() -> None:
    image, gradients = torch.randn(1, 1, 4, 16, 16), []
    torch.manual_seed(0)
    network = build_model(SMALL).train()
    for recompute in (False, True):
        network.recompute = recompute
        network.zero_grad()
        network(image).mask.square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(network.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_it_starts_from_a_file(tmp_path: Path) -> None:
    source = build_model(SMALL)
    save_file(source.state_dict(), tmp_path / "start.safetensors")
    started = build_model(SMALL.model_copy(update={"weights": str(tmp_path / "start.safetensors")}))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in started.state_dict().items())


def test_strides_that_do_not_fit_the_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="give one of 1 to 4 voxels between each two of 3 levels"):
        ConvUNet3DModel(channels=(4, 8, 16), strides=((1, 2, 2),))
