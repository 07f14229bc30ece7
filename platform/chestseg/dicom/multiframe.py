"""Enhanced multi-frame images (PS3.3 C.7.6.16) as the single images they stand for: one frame, one flat data set."""

from collections.abc import Callable, Iterator

from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames

from chestseg.dicom.source import Refused

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
GROUPS = (
    "CTImageFrameTypeSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
)
"""The functional groups that say where a frame's pixels lie and what they mean."""
PIXEL_GROUP = 0x0028


def is_multiframe(dataset: Dataset) -> bool:
    """Whether each frame has functional groups of its own, as in Enhanced CT."""
    return PER_FRAME in dataset


def frame_attributes(dataset: Dataset) -> Iterator[Dataset]:
    """For each frame, the attributes a single image would have: those of the file with those of its functional groups over them.

    Raises:
        Refused: there are not as many groups as frames.
    """
    groups, frames = dataset[PER_FRAME].value, int(dataset.get("NumberOfFrames") or 1)
    if len(groups) != frames:
        raise Refused(f"{frames} frames and positions of {len(groups)}: export it again")
    flat = Dataset()
    flat.update({element.tag: element for element in dataset if element.VR != "SQ"})
    for shared in dataset.get(SHARED, []):
        _flatten(flat, shared)
    for number, group in enumerate(groups, 1):
        frame = Dataset()
        frame.update(flat)
        _flatten(frame, group)
        frame.add_new("InstanceNumber", "IS", number)
        yield frame


def frame_reader(dataset: FileDataset) -> Callable[[int], FileDataset]:
    """A function from a frame's place, from 0, to the data set of an image of that one frame, its pixel data compressed as before.

    Raises:
        Refused: pixel data of fewer frames than declared.
    """
    frames, syntax = int(dataset.get("NumberOfFrames") or 1), dataset.file_meta.TransferSyntaxUID
    length = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
    data, streams = dataset.PixelData, []
    if syntax.is_encapsulated:
        streams = list(generate_frames(data, number_of_frames=frames))
    held = len(streams) if syntax.is_encapsulated else len(data) // length
    if held < frames:
        raise Refused(f"declares {frames} frames and holds {held}: copy or export it again")
    # Elements are parsed when first asked for, which threads must not do at once.
    attributes = {element.tag: element for element in dataset.group_dataset(PIXEL_GROUP) if element.keyword != "NumberOfFrames"}
    vr = dataset["PixelData"].VR

    def read(frame: int) -> FileDataset:
        single = FileDataset("", dict(attributes), file_meta=dataset.file_meta)
        single.add_new("PixelData", vr, encapsulate([streams[frame]]) if streams else data[frame * length : (frame + 1) * length])
        return single

    return read


def _flatten(flat: Dataset, groups: Dataset) -> None:
    for keyword in GROUPS:
        for item in groups.get(keyword, []):
            flat.update({element.tag: element for element in item})
            if "FrameType" in item:
                flat.add_new("ImageType", "CS", item.FrameType)
