"""DICOM files to data sets and their stored pixel values, whatever the transfer syntax."""

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames

from chestseg.dicom.codestream import can_decode, decode
from chestseg.dicom.parsing import parse
from chestseg.dicom.picture import single_channel
from chestseg.dicom.source import MOST_PIXELS, ImageFile, Refused, naming, read_source


def parse_dicom(data: bytes) -> FileDataset:
    """Parse a DICOM file; one without preamble or file meta information is taken where it holds an image all the same.

    Raises:
        Refused: not DICOM, or without pixel data.
    """
    dataset = parse(data)
    if data[128:132] != b"DICM" and "Rows" not in dataset:
        raise Refused("neither DICOM nor PNG nor JPEG: convert it to one of them")
    if "PixelData" not in dataset:
        raise Refused("holds no pixel data: it is not an image, or it was cut short and must be copied again")
    if "TransferSyntaxUID" not in dataset.file_meta:
        _assume_syntax_as_parsed(dataset)
    return dataset


def read_shape(source: ImageFile) -> tuple[int, int]:
    """Rows and columns a DICOM file declares; its pixels are not decoded.

    Raises:
        ValueError: one line that names the file: unreadable, or not a DICOM image.
    """
    data, name = read_source(source)
    with naming(name):
        dataset = parse_dicom(data)
        return int(dataset.Rows), int(dataset.Columns)


def stored_values(dataset: FileDataset, least_bits: int = 8) -> np.ndarray:
    """Decode the one frame of an image, before any look-up table.

    Returns:
        (H, W), uint8, int8, uint16 or int16 in the machine's byte order.

    Raises:
        Refused: several frames, colour, fewer than `least_bits` or more than 16 bits stored, or a transfer syntax with no decoder here.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise Refused(f"holds {frames} frames where a radiograph has one: export the frame that is meant")
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        raise Refused("colour image (PALETTE COLOR): a radiograph has grey values only; export the original")
    _check_bits(dataset, least_bits)
    if dataset.Rows * dataset.Columns > MOST_PIXELS:
        raise Refused(f"declares {dataset.Rows}x{dataset.Columns} pixels, more than any radiograph has: export it again")
    values = _decode(dataset)
    if values.ndim == 3:
        values = single_channel(values)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _assume_syntax_as_parsed(dataset: FileDataset) -> None:
    if dataset["PixelData"].is_undefined_length:
        raise Refused("compressed pixel data, but the file does not say how (no Transfer Syntax UID): export it again")
    implicit, little = dataset.original_encoding
    if not little:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    else:
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def _check_bits(dataset: Dataset, least: int) -> None:
    stored, allocated = dataset.BitsStored, dataset.BitsAllocated
    if not (least <= stored <= allocated and allocated in (1, 8, 16)):
        raise Refused(f"{stored} bits stored in {allocated}: {least} to 16 bits in 8 or 16 can be read; export it as such")
    if dataset.get("HighBit", stored - 1) != stored - 1:
        raise Refused(f"high bit {dataset.HighBit} of {stored} bits stored: its values are not in the lowest bits; export it again")


def _decode(dataset: FileDataset) -> np.ndarray:
    syntax = dataset.file_meta.TransferSyntaxUID
    if can_decode(syntax):
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        return _as_declared(decode(frame, syntax, (dataset.Rows, dataset.Columns)), dataset)
    if syntax.is_encapsulated and syntax != uid.RLELossless:
        raise Refused(f"no decoder for transfer syntax {syntax.name} ({syntax}): convert it, for example with `gdcmconv --raw IN OUT`")
    try:
        return dataset.pixel_array
    except RuntimeError:
        raise Refused(f"its {syntax.name} pixel data cannot be decoded: it is damaged, copy or export it again") from None


def _as_declared(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Give decoded values the sign and width that the data set declares, which the stream need not know."""
    width = values.dtype.itemsize
    unused = max(0, 8 * width - dataset.BitsStored)
    return values.view(f"{'i' if dataset.PixelRepresentation else 'u'}{width}") << unused >> unused
