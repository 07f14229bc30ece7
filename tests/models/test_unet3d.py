"""The 3D U-Net's sizes, strides, heads, recomputation, and the transfer of every tensor of torchvision's encoders."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torchvision.models import get_model, get_model_weights

from chestseg.config import UNet3DModel
from chestseg.files import sha256_of
from chestseg.models import unet3d
from chestseg.models.registry import build_model
from chestseg.models.segmenter import Segmenter

ENCODERS = ("r3d_18", "mc3_18", "r2plus1d_18")
CLASSIFIER = 512 * 400 + 400
STEM = {"r3d_18": 64 * 3 * 7 * 7, "mc3_18": 64 * 3 * 7 * 7, "r2plus1d_18": 45 * 7 * 7}
"""Weights of the stem for one channel."""
SMALL = UNet3DModel(encoder="mc3_18", weights="none", decoder_channels=(16, 16, 8, 8, 4))


def seeded(config: UNet3DModel) -> Segmenter:
    torch.manual_seed(0)
    return build_model(config)


def shapes(network: Segmenter, size: tuple[int, int, int]) -> list[tuple[int, ...]]:
    """Sizes of the stem's and the four stages' outputs."""
    found: list[tuple[int, ...]] = []
    parts = [network.encoder.stem, *(getattr(network.encoder, f"layer{n}") for n in (1, 2, 3, 4))]
    hooks = [part[-1].register_forward_hook(lambda _m, _i, answer: found.append(tuple(answer.shape[2:]))) for part in parts]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 1, *size))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_encoder_is_torchvision_s_without_classifier_and_two_stem_channels(encoder: str) -> None:
    network = build_model(UNet3DModel(encoder=encoder, weights="none"))
    expected = get_model_weights(encoder)["KINETICS400_V1"].meta["num_params"] - CLASSIFIER - 2 * STEM[encoder]
    assert sum(p.numel() for p in network.encoder.parameters()) == expected


def test_the_whole_network_has_41_million_parameters() -> None:
    below, skips, levels = (256, 128, 64, 32), (256, 128, 64, 1), (128, 64, 32, 16)
    decoder = 27 * (512 * 256 + 256 * 256) + 4 * 256
    decoder += sum(27 * ((b + s) * c + c * c) + 4 * c + (2 * s if s > 1 else 0) for b, s, c in zip(below, skips, levels, strict=True))
    network = build_model(UNet3DModel(weights="none"))
    encoder = sum(p.numel() for p in network.encoder.parameters())
    assert sum(p.numel() for p in network.parameters()) == encoder + decoder + 16 + 1 == 41_382_977


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_tensor_of_the_encoder_comes_from_torchvision_s_cache(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = get_model(encoder, weights=None).state_dict()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(source, checkpoints / "drawn")
    named = checkpoints / f"{encoder}-{sha256_of(checkpoints / 'drawn')[:8]}.pth"
    (checkpoints / "drawn").rename(named)
    monkeypatch.setattr(
        unet3d, "get_model_weights", lambda _: {"KINETICS400_V1": SimpleNamespace(url=f"https://nowhere.example/{named.name}")}
    )
    own = build_model(UNet3DModel(encoder=encoder)).encoder.state_dict()
    assert set(own) == {name for name in source if not name.startswith("fc.")}
    torch.testing.assert_close(own.pop("stem.0.weight"), source["stem.0.weight"].sum(1, keepdim=True), rtol=0, atol=0)
    for name, value in own.items():
        assert torch.equal(value, source[name]), name


def test_a_file_in_the_cache_that_is_not_what_its_name_says_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / Path(get_model_weights("r3d_18")["KINETICS400_V1"].url).name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half of a download")
    with pytest.raises(ValueError, match=f"{cached}: its SHA-256 begins with .*, not as its name says: .* delete it") as caught:
        build_model(UNet3DModel())
    assert "\n" not in str(caught.value)


def test_with_the_same_weights_the_encoder_answers_grey_as_torchvision_s_answers_three_equal_channels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = get_model("r2plus1d_18", weights=None).eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    network = build_model(UNet3DModel(encoder="r2plus1d_18", weights=str(tmp_path / "weights.pth"))).eval()
    found: list[torch.Tensor] = []
    network.encoder.layer4.register_forward_hook(lambda _m, _i, answer: found.append(answer))
    network.encoder.layer4[-1].register_forward_hook(lambda _m, _i, answer: found.append(answer))
    image = torch.randn(1, 1, 8, 32, 32)
    with torch.inference_mode():
        network(image)
        expected = torch.nn.Sequential(source.stem, source.layer1, source.layer2, source.layer3, source.layer4)(
            image.expand(-1, 3, -1, -1, -1)
        )
    torch.testing.assert_close(found[-1], expected, rtol=1e-3, atol=1e-4)


def test_without_network_the_error_names_weights_and_where_to_put_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens
    told = r"Kinetics-400 weights of r3d_18 \(https://.*r3d_18-b3b3357e.pth\) could not be downloaded "
    told += r".*put it at .*checkpoints/r3d_18-b3b3357e.pth"
    with pytest.raises(ValueError, match=told) as caught:
        build_model(UNet3DModel())
    assert "set model.weights to none" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.p*"))


def test_a_network_that_gets_its_weights_elsewhere_asks_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    build_model(SMALL.model_copy(update={"weights": "kinetics400"}), pretrained=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("size", [(1, 1, 1), (5, 37, 45), (8, 32, 16)])
def test_the_answer_has_the_input_s_size(encoder: str, size: tuple[int, int, int]) -> None:
    network = build_model(SMALL.model_copy(update={"encoder": encoder})).eval()
    with torch.inference_mode():
        answer = network(torch.zeros(2, 1, *size))
    assert answer.mask.shape == (2, 1, *size)
    assert answer.disease is None
    assert answer.coarse == ()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    ("strides", "expected"),
    [
        ({}, [(9, 20, 16), (9, 20, 16), (5, 10, 8), (3, 5, 4), (2, 3, 2)]),
        ({"depth_strides": (1, 1, 1)}, [(9, 20, 16), (9, 20, 16), (9, 10, 8), (9, 5, 4), (9, 3, 2)]),
        ({"stem_stride": (1, 1, 1), "depth_strides": (1, 2, 1)}, [(9, 40, 32), (9, 40, 32), (9, 20, 16), (5, 10, 8), (5, 5, 4)]),
        ({"stem_stride": (2, 2, 2)}, [(5, 20, 16), (5, 20, 16), (3, 10, 8), (2, 5, 4), (1, 3, 2)]),
    ],
)
def test_strides_of_stem_and_depth_are_obeyed(encoder: str, strides: dict[str, tuple[int, ...]], expected: list[tuple[int, ...]]) -> None:
    network = build_model(SMALL.model_copy(update={"encoder": encoder, **strides}))
    assert shapes(network, (9, 40, 32)) == expected


@pytest.mark.parametrize("encoder", ENCODERS)
def test_no_slice_is_lost_where_depth_shrinks(encoder: str) -> None:
    network = seeded(SMALL.model_copy(update={"encoder": encoder})).eval()
    image = torch.randn(1, 1, 8, 16, 16, requires_grad=True)
    deepest: list[torch.Tensor] = []
    network.encoder.layer4[-1].register_forward_hook(lambda _m, _i, answer: deepest.append(answer))
    network(image)
    (gradient,) = torch.autograd.grad(deepest[0].sum(), image)
    assert (gradient.abs().amax((0, 1, 3, 4)) > 0).all()


def test_the_finest_level_sees_the_image_itself() -> None:
    """A lone voxel between the stem's strides still changes the answer at its own place most."""
    network = seeded(SMALL).eval()
    for parameter in network.levels[-1].convolutions[0].parameters():
        torch.nn.init.zeros_(parameter[:, :-1])  # all but the image
    image = torch.zeros(1, 1, 4, 32, 32)
    with torch.inference_mode():
        before = network(image).mask
        image[0, 0, 2, 13, 17] = 5
        difference = (network(image).mask - before).abs()[0, 0]
    near = torch.zeros_like(difference, dtype=torch.bool)
    near[:, 10:17, 14:21] = True
    assert difference[near].any() and not difference[~near].any()


def test_deep_supervision_answers_at_coarser_levels_in_training_only() -> None:
    network = seeded(SMALL.model_copy(update={"deep_supervision": True})).train()
    image = torch.randn(2, 1, 8, 48, 48)
    answer = network(image)
    assert [tuple(level.shape) for level in answer.coarse] == [(2, 1, 8, 24, 24), (2, 1, 4, 12, 12), (2, 1, 2, 6, 6)]
    with torch.inference_mode():
        assert network.eval()(image).coarse == ()


@pytest.mark.parametrize("frozen", [False, True])
def test_recomputing_changes_neither_gradients_nor_batch_norm_statistics(frozen: bool) -> None:
    kept = seeded(SMALL.model_copy(update={"deep_supervision": True})).train()
    kept.encoder.requires_grad_(not frozen)
    again = copy.deepcopy(kept)
    again.recompute = True
    image = torch.randn(2, 1, 5, 32, 32)
    for network in (kept, again):
        answer = network(image)
        sum(level.square().mean() for level in (answer.mask, *answer.coarse)).backward()
    for (name, one), other in zip(kept.named_parameters(), again.parameters(), strict=True):
        assert one.grad is None if frozen and name.startswith("backbone.") else torch.equal(one.grad, other.grad), name
    for (name, one), other in zip(kept.named_buffers(), again.named_buffers(), strict=True):
        assert torch.equal(one, other[1]), name


def test_recomputing_keeps_less() -> None:
    def kept(recompute: bool) -> int:
        network = seeded(SMALL).train()
        network.recompute = recompute
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(torch.randn(1, 1, 8, 64, 64))
        return sum(sizes.values())

    assert kept(True) < kept(False) / 2


def test_channels_last_gives_the_same_answer() -> None:
    network = seeded(SMALL).eval()
    image = torch.randn(1, 1, 6, 40, 40)
    with torch.inference_mode():
        expected = network(image).mask
        found = network.to(memory_format=network.layout)(image).mask
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_another_number_of_levels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"decoder_channels \(64, 32\): the decoder has five levels"):
        build_model(UNet3DModel(weights="none", decoder_channels=(64, 32)))
