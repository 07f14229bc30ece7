"""Networks by the names of their architecture and encoder."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from chestseg.config.stage import Triple
from chestseg.config.strict import Extended

Activation = Literal["relu", "leaky_relu", "silu"]
NO_FILE = ("imagenet", "kinetics400", "package", "none")
"""What `weights` may be instead of a path."""


class Pretrained(Extended):
    """A network that may start from pretrained weights."""

    later: ClassVar[dict[str, Any]] = {"weights_sha256": None}

    weights: str
    weights_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the file that `weights` names, as its publisher gives it; another file is refused. Null takes any."""

    @model_validator(mode="after")
    def _of_a_file(self) -> Self:
        if self.weights_sha256 and self.weights in NO_FILE:
            raise ValueError(f"weights_sha256 is of a file, and weights is {self.weights}: leave it out, or name the file in weights")
        return self


class UNet2DModel(Pretrained):
    """A 2D U-Net for radiographs, over any encoder of segmentation-models-pytorch."""

    architecture: Literal["unet2d"] = "unet2d"
    encoder: str = "resnet34"
    weights: str = "imagenet"
    """`imagenet` (downloaded), `package` (an installed weights package), `none`, or the path of a state dict."""
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    activation: Activation = "relu"
    """Of the decoder. With `relu` and few channels at its last level, lesions may end as places where no channel answers, and nothing
    learns there but the head's bias; the others let gradients pass everywhere."""
    empty_head: bool = False
    """A second head that says whether the mask is empty."""


class UNet3DModel(Pretrained):
    """A 3D U-Net for volumes whose encoder is one of torchvision's video ResNets (Bressem et al. 2021)."""

    architecture: Literal["unet3d"] = "unet3d"
    encoder: Literal["r3d_18", "mc3_18", "r2plus1d_18"] = "r3d_18"
    weights: str = "kinetics400"
    """`kinetics400` (downloaded), `none`, or the path of a state dict."""
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    """Of the decoder's levels, coarsest first; the last is at the input's size."""
    stem_stride: Triple = (1, 2, 2)
    """Of the first convolution, along slices, rows and columns."""
    depth_strides: tuple[int, int, int] = (2, 2, 2)
    """Along slices, of the encoder's second to fourth stage: 1 keeps the slices of a thick-sliced volume apart."""
    deep_supervision: bool = False
    """Further heads at the decoder's coarser levels, trained with halving weights and not used afterwards."""

    @property
    def empty_head(self) -> bool:
        """Volumes are given no empty-mask head: a patch without infiltrate says little about the patient."""
        return False


class SliceUNetModel(Pretrained):
    """A 2D U-Net that sees each slice of a volume with its neighbours as channels, over an encoder pretrained on photographs."""

    architecture: Literal["slice_unet"] = "slice_unet"
    encoder: str = "resnet34"
    weights: str = "imagenet"
    """As of `UNet2DModel`."""
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    activation: Activation = "relu"
    """As of `UNet2DModel`."""
    neighbours: int = Field(default=1, ge=0, le=8)
    """Slices seen on either side; 1 makes three channels, as the pretrained stem has."""

    @property
    def empty_head(self) -> bool:
        """None, as of `UNet3DModel`."""
        return False


class ConvUNet3DModel(Pretrained):
    """A 3D U-Net of plain convolutions, trained from scratch: small, and made for thick slices."""

    architecture: Literal["conv_unet3d"] = "conv_unet3d"
    weights: str = "none"
    """`none`, or the path of a state dict."""
    channels: tuple[int, ...] = Field(default=(32, 64, 128, 256, 320), min_length=2)
    """Of the levels, the finest first."""
    strides: tuple[Triple, ...] = ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    """Along slices, rows and columns, from each level to the next coarser one."""
    deep_supervision: bool = False
    """As of `UNet3DModel`."""

    @property
    def encoder(self) -> str:
        """In errors."""
        return self.architecture

    @property
    def empty_head(self) -> bool:
        """None, as of `UNet3DModel`."""
        return False

    @model_validator(mode="after")
    def _a_stride_between_levels(self) -> Self:
        if len(self.strides) != len(self.channels) - 1 or any(not 1 <= s <= 4 for stride in self.strides for s in stride):
            raise ValueError(f"strides {list(self.strides)}: give one of 1 to 4 voxels between each two of {len(self.channels)} levels")
        return self


VolumeModel = Annotated[UNet3DModel | SliceUNetModel | ConvUNet3DModel, Field(discriminator="architecture")]
Model = Annotated[UNet2DModel | UNet3DModel | SliceUNetModel | ConvUNet3DModel, Field(discriminator="architecture")]
