"""Shards of radiographs: an array of images and one of masks for each size, a plane a case."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.data.cases import Case, CaseSource
from chestseg.data.manifest import Row, content_hash
from chestseg.data.prepared import array_path
from chestseg.data.prepared_radiographs import HEADER


@dataclass(frozen=True)
class RadiographShards:
    """How shards of radiographs are made; a `ShardKind`."""

    sizes: tuple[int, ...]
    cases: ClassVar[int] = 64
    memory: ClassVar[int] = 2**29

    @property
    def settings(self) -> dict[str, Any]:
        """The sizes."""
        return {"sizes": self.sizes}

    @property
    def bytes_per_case(self) -> int:
        """An image and a mask of each size."""
        return sum(2 * size * size for size in self.sizes)

    def paths(self, source: CaseSource) -> tuple[str | None, ...]:
        """Image and mask."""
        return source.image, source.mask_path

    def decode(self, source: CaseSource) -> Case:
        """Image and mask at the source's size. Raises ValueError where a file can't be read."""
        return source.read()

    @contextlib.contextmanager
    def arrays(self, folder: Path) -> Iterator[Callable[[CaseSource, Case], Row]]:
        """Arrays of uint8 (n, size, size), masks 0 or 1, that grow by a plane with every case stored."""
        with contextlib.ExitStack() as files:
            images, masks = (
                {size: _Planes(files.enter_context(open(array_path(folder, kind, size), "wb")), size) for size in self.sizes}
                for kind in ("image", "mask")
            )

            def store(source: CaseSource, case: Case) -> Row:
                for size in self.sizes:
                    images[size].append(resize_image(case.pixels, size))
                    masks[size].append(resize_mask(case.mask, size))
                return _row(source, case)

            yield store
            for planes in (*images.values(), *masks.values()):
                planes.finish()

    def is_whole(self, folder: Path, cases: int) -> bool:
        """Whether the arrays have as many bytes as `cases` planes take."""
        try:
            lengths = [(array_path(folder, kind, size).stat().st_size, size) for kind in ("image", "mask") for size in self.sizes]
        except OSError:
            return False
        return all(length == HEADER + cases * size * size for length, size in lengths)


def _row(source: CaseSource, case: Case) -> Row:
    radiograph, area = case.radiograph, int(case.mask.sum())
    spacing = radiograph.spacing_mm or (None, None)
    return {
        "case_id": source.case_id,
        "patient_id": radiograph.patient_id,
        "source": source.source,
        "image": source.image,
        "modality": radiograph.modality,
        "view": radiograph.view,
        "sex": radiograph.sex,
        "age": radiograph.age,
        "height": case.pixels.shape[0],
        "width": case.pixels.shape[1],
        "spacing_row": spacing[0],
        "spacing_col": spacing[1],
        "positive": area > 0,
        "mask_area": area,
        "pixel_hash": content_hash(case.pixels),
        "mask_hash": content_hash(case.mask),
    }


class _Planes:
    """An .npy file of uint8 (n, size, size) that grows by a plane at a time; its header is corrected at the end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.count = file, size, 0
        self._write_header()

    def append(self, plane: np.ndarray) -> None:
        assert plane.shape == (self.size, self.size) and plane.dtype == np.uint8, (plane.shape, plane.dtype)
        self.file.write(np.ascontiguousarray(plane).data)
        self.count += 1

    def finish(self) -> None:
        self.file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        shape = (self.count, self.size, self.size)
        np.lib.format.write_array_header_1_0(self.file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        assert self.file.tell() == HEADER, self.file.tell()
