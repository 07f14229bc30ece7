"""The bundle: a folder with a trained network and all that is needed to use it, from which no code is ever loaded.

`bundle.json` describes, `model.safetensors` holds the weights, `golden.npz` an image of no patient with its expected answer, and
`README.md` is the model card.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file

from chestseg.config import Model, Postprocessing, Strict, VolumePostprocessing, parse
from chestseg.files import sha256_of, whole_folder
from chestseg.models.ensemble import Ensemble
from chestseg.models.registry import build_model
from chestseg.models.segmenter import Segmenter
from chestseg.preprocessing import Preprocessing, VolumePreprocessing

FORMAT = 1
DESCRIPTION = "bundle.json"
WEIGHTS = "model.safetensors"
GOLDEN = "golden.npz"
CARD = "README.md"


class BundleSpec(Strict):
    """What `bundle.json` says."""

    format: int = Field(default=FORMAT, ge=1)
    name: str = Field(pattern=r"^[^/:]+$")
    """As MLflow names models: no slash, no colon."""
    track: str
    code_version: str
    model: Model
    members: int = Field(default=1, ge=1)
    """Networks of one architecture whose probabilities are averaged; each tensor of `model.safetensors` then is `members.N.NAME`."""
    preprocessing: Preprocessing | VolumePreprocessing
    postprocessing: Postprocessing | VolumePostprocessing
    labels: tuple[str, ...] = ("pneumothorax",)
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Ends of the 95 % intervals over patients of those metrics that have one."""
    dataset_hash: str
    experiment: dict[str, Any]
    """The experiment it was trained by, less the paths of the machine it ran on; a record, not read back."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each other file of the folder."""


class GoldenCase(NamedTuple):
    """A generated image, never a patient's, and what the bundle answers to it in float32 on a CPU."""

    image: np.ndarray
    """uint8: a radiograph (H, W), or a volume (D, H, W) at the network's spacing."""
    probabilities: np.ndarray
    """float32 (size, size) or (D, H, W), flip TTA included where the bundle asks for it."""
    tolerance: float
    """Largest difference of a probability that another machine's rounding may cause."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were found whole."""

    spec: BundleSpec
    folder: Path

    @property
    def digest(self) -> str:
        """SHA-256 of `bundle.json`, which holds those of the other files: it names this bundle and no other."""
        return sha256_of(self.folder / DESCRIPTION)

    def build_model(self) -> Segmenter:
        """The network with its weights, on the CPU, in evaluation mode.

        Raises:
            ValueError: the weights are not of the network that `bundle.json` describes.
        """
        where = str(self.folder / WEIGHTS)
        return build_network(self.spec.model, load_file(self.folder / WEIGHTS), where, self.spec.members)

    def golden(self) -> GoldenCase | None:
        """The golden case, or None where the bundle carries none.

        Raises:
            ValueError: the file holds something else.
        """
        if GOLDEN not in self.spec.files:
            return None
        try:
            with np.load(self.folder / GOLDEN, allow_pickle=False) as arrays:
                case = GoldenCase(arrays["image"], arrays["probabilities"], float(arrays["tolerance"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.folder / GOLDEN}: not a golden case ({error}): copy the bundle again from where it was made"
            ) from error
        return case


def build_network(model: Model, weights: dict[str, torch.Tensor], where: str, members: int = 1) -> Segmenter:
    """The network `model` describes with `weights` as they are, on the CPU, in evaluation mode; `where` names their origin in errors.

    Of several members, their mean.
    """
    networks = [build_model(model, pretrained=False) for _ in range(members)]
    network = Ensemble(networks) if members > 1 else networks[0]
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"{where}: not the weights of the {model.encoder} network described beside it ({reason})") from error
    return network.eval()


def save_bundle(
    folder: str | Path, spec: BundleSpec, weights: dict[str, torch.Tensor], golden: GoldenCase | None = None, card: str | None = None
) -> Bundle:
    """Write a bundle, whole or not at all; one that stood at `folder` gives way to it.

    Equal arguments give equal bytes.

    Args:
        folder: the bundle's folder.
        spec: its description; `files` is filled in here.
        weights: the network's state dict, on any device.
        golden: see `chestseg.inference.golden.make_golden`.
        card: see `chestseg.evaluation.card.model_card`.
    """
    with whole_folder(folder) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary / WEIGHTS)
        if golden is not None:
            np.savez_compressed(temporary / GOLDEN, **golden._asdict())
        if card is not None:
            (temporary / CARD).write_text(card, encoding="utf-8")
        spec = spec.model_copy(update={"files": {file.name: sha256_of(file) for file in sorted(temporary.iterdir())}})
        text = json.dumps(spec.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return Bundle(spec, Path(folder))


def load_bundle(folder: str | Path) -> Bundle:
    """Read a bundle's description and check every file against it; weights are read by `Bundle.build_model`.

    Raises:
        ValueError: one line that names the file that is missing, of a later format, unreadable or changed, and the remedy.
    """
    folder = Path(folder)
    spec = _read_spec(folder / DESCRIPTION)
    for name, expected in spec.files.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file}: missing: copy the bundle again, with all of {', '.join(spec.files)}")
        if sha256_of(file) != expected:
            raise ValueError(f"{file}: its SHA-256 is not the one in {DESCRIPTION}, it was changed or cut short: copy the bundle again")
    return Bundle(spec, folder)


def _read_spec(path: Path) -> BundleSpec:
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: no such folder: give a bundle's folder or an MLflow URI such as models:/NAME@champion")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent}: no bundle, it has no {DESCRIPTION}: give the folder that train wrote") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: unreadable ({error}): copy the bundle again from where it was made") from error
    found = tree.get("format") if isinstance(tree, dict) else None
    if not isinstance(found, int):
        raise ValueError(f"{path}: no bundle's description, it has no format number: give the folder that train wrote")
    if found > FORMAT:
        raise ValueError(f"{path}: format {found}, this chestseg reads up to {FORMAT}: install the version that wrote it or a later one")
    spec = parse(BundleSpec, tree, where=str(path))
    # The names come from a file, so only those written here are followed.
    if WEIGHTS not in spec.files or not set(spec.files) <= {WEIGHTS, GOLDEN, CARD}:
        raise ValueError(
            f"{path}: files names {', '.join(spec.files) or 'none'}, a bundle has {WEIGHTS}, {GOLDEN} and {CARD}: copy the bundle again"
        )
    return spec
