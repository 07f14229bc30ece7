"""The U-Net's sizes, heads and errors."""

import pytest
import torch

from chestseg.config import UNet2DModel
from chestseg.models.registry import build_model


def test_resnet34_has_the_published_number_of_parameters_less_two_stem_channels() -> None:
    network = build_model(UNet2DModel(weights="none"))
    assert sum(p.numel() for p in network.parameters()) == 24_436_369 - 2 * 64 * 7 * 7


def test_logits_have_the_input_size_and_the_head_one_score_an_image() -> None:
    network = build_model(UNet2DModel(encoder="resnet18", weights="none", empty_head=True)).eval()
    with torch.inference_mode():
        answer = network(torch.zeros(2, 1, 64, 96))
    assert answer.mask.shape == (2, 1, 64, 96)
    assert answer.disease is not None and answer.disease.shape == (2,)


def test_the_decoder_may_have_another_activation_and_the_encoder_keeps_its_own() -> None:
    plain, other = (build_model(UNet2DModel(encoder="resnet18", weights="none", activation=a)) for a in ("relu", "silu"))
    kinds = [type(module) for module in other.network.decoder.modules()]
    assert torch.nn.ReLU not in kinds and kinds.count(torch.nn.SiLU) == 10
    assert [type(m) for m in other.encoder.modules()] == [type(m) for m in plain.encoder.modules()]
    assert plain.state_dict().keys() == other.state_dict().keys()


def test_without_the_head_there_is_no_score() -> None:
    with torch.inference_mode():
        assert build_model(UNet2DModel(encoder="resnet18", weights="none")).eval()(torch.zeros(1, 1, 32, 32)).disease is None


def test_weights_that_cannot_be_downloaded_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match=r"ImageNet weights of resnet34 \(smp-hub/resnet34.imagenet.*set model.weights to that file"
    ) as caught:
        build_model(UNet2DModel())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"encoder": "resnet35"}, "model.encoder 'resnet35' is unknown"),
        ({"decoder_channels": (64, 32)}, "five levels"),
        ({"encoder": "resnext101_32x16d", "weights": "imagenet"}, "resnext101_32x16d has no ImageNet weights, only instagram"),
        ({"encoder": "dpn68b", "weights": "imagenet"}, r"dpn68b has no ImageNet weights, only imagenet\+5k: use none or a file"),
        ({"encoder": "resnet18", "weights": "package"}, "no weights package is known for resnet18"),
    ],
)
def test_a_mistake_is_named(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_model(UNet2DModel.model_validate({"weights": "none", **change}))
