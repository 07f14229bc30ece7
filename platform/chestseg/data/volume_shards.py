"""Shards of volumes: one case each, its grey values, mask and foreground at every spacing, and its mask as it was drawn."""

import contextlib
import hashlib
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from chestseg.arrays.resample import resample_image, resample_mask, shape_at
from chestseg.arrays.window import to_grey
from chestseg.config import Spacing, VolumeData
from chestseg.data.manifest import Row, content_hash
from chestseg.data.prepared import array_path
from chestseg.data.prepared_volumes import FOREGROUND, truth_path
from chestseg.data.volume_cases import VolumeCase, VolumeSource

CHEST_MM3 = 350 * 400 * 400
"""What a large scan of the chest covers, for an estimate of the space needed: sizes are not known before files are read."""
KINDS = ("image", "mask", "foreground")
INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class VolumeShards:
    """How shards of volumes are made; a `ShardKind`."""

    data: VolumeData
    cases: ClassVar[int] = 1
    memory: ClassVar[int] = 3 * 2**30
    """Seen: 2.8 GB for 600 slices of 512x512 in float32."""

    @property
    def settings(self) -> dict[str, Any]:
        """The spacings, the window, and what happens to a series with faults."""
        return {"spacings": self.data.spacings, "window": self.data.window, "series": self.data.series}

    @property
    def bytes_per_case(self) -> int:
        """About what an image and a mask of each spacing take."""
        return sum(2 * round(CHEST_MM3 / math.prod(spacing)) for spacing in self.data.spacings)

    def paths(self, source: VolumeSource) -> tuple[str, ...]:
        """Every file of the volume and of its mask."""
        return source.paths

    def decode(self, source: VolumeSource) -> VolumeCase:
        """HU and mask on the source's grid. Raises ValueError where a file can't be read or does not fit."""
        return source.read(self.data)

    @contextlib.contextmanager
    def arrays(self, folder: Path) -> Iterator[Callable[[VolumeSource, VolumeCase], Row]]:
        """Files of one case, which is stored in canonical orientation."""
        yield partial(_store, folder, self.data)

    def is_whole(self, folder: Path, cases: int) -> bool:
        """Whether the arrays of the case, if it was stored, are as long as their headers say."""
        arrays = [array_path(folder, kind, spacing) for kind in KINDS for spacing in self.data.spacings]
        try:
            return not cases or (all(map(_is_whole, arrays)) and zipfile.is_zipfile(truth_path(folder)))
        except OSError:
            return False


def _is_whole(path: Path) -> bool:
    with open(path, "rb") as file:
        try:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError:
            return False
        return path.stat().st_size == file.tell() + math.prod(shape) * dtype.itemsize


def _store(folder: Path, data: VolumeData, source: VolumeSource, case: VolumeCase) -> Row:
    # Views of what was read: a copy of the HU would be the largest array of all.
    grid, canonical = case.volume.grid, case.volume.grid.reorientation()
    hu, spacing = canonical.apply(case.volume.values), grid.canonical().spacing
    grey, mask = to_grey(hu, data.window), np.ascontiguousarray(canonical.apply(case.mask))
    for wanted in data.spacings:
        shape = shape_at(mask.shape, spacing, wanted)
        resampled = resample_mask(mask, shape)
        np.save(array_path(folder, "image", wanted), resample_image(grey, shape))
        np.save(array_path(folder, "mask", wanted), resampled)
        np.save(array_path(folder, "foreground", wanted), _foreground(resampled))
    np.savez_compressed(truth_path(folder), bits=np.packbits(mask), shape=np.array(mask.shape), spacing=np.array(spacing))
    return _row(source, case, hu, mask, spacing)


def _foreground(mask: np.ndarray) -> np.ndarray:
    """Positions of at most `FOREGROUND` voxels of a mask, (n, 3) int32: one drawn from each of as many equal parts of them."""
    inside = np.flatnonzero(mask)
    if len(inside) > FOREGROUND:
        edges = np.arange(FOREGROUND + 1) * len(inside) // FOREGROUND
        inside = inside[edges[:-1] + np.int64(np.random.default_rng(0).random(FOREGROUND) * np.diff(edges))]
    return np.stack(np.unravel_index(inside, mask.shape), axis=1).astype(np.int32)


def _row(source: VolumeSource, case: VolumeCase, hu: np.ndarray, mask: np.ndarray, spacing: Spacing) -> Row:
    area = int(np.count_nonzero(mask))
    depth, height, width = mask.shape
    return {
        "case_id": source.case_id,
        "patient_id": case.patient_id,
        "source": source.source,
        "image": source.image,
        "modality": case.modality,
        "sex": case.sex,
        "age": case.age,
        "depth": depth,
        "height": height,
        "width": width,
        "spacing_slice": spacing[0],
        "spacing_row": spacing[1],
        "spacing_col": spacing[2],
        "positive": area > 0,
        "mask_area": area,
        "pixel_hash": _volume_hash(hu, spacing),
        "mask_hash": content_hash(mask),
        "notes": case.notes,
    }


def _volume_hash(hu: np.ndarray, spacing: Spacing) -> str:
    """Hash of shape, spacing to the micrometre, and whole HU: the same for one scan in two formats."""
    digest = hashlib.sha256(f"{hu.shape} {' '.join(f'{mm:.3f}' for mm in spacing)}".encode())
    for values in hu:
        digest.update(np.ascontiguousarray(np.rint(np.clip(values, INT16.min, INT16.max)), np.int16).data)
    return digest.hexdigest()
