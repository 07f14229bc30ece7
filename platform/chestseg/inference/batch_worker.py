"""What one process of a batch does: it holds the predictor, and takes items from source to results."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from chestseg.arrays.hu import Greys
from chestseg.bundle import Bundle
from chestseg.dicom.radiograph import read_radiograph
from chestseg.dicom.series import Mode, read_series
from chestseg.inference.batch_items import Item
from chestseg.inference.batch_output import worker_results
from chestseg.inference.batch_results import RLE, Row
from chestseg.inference.postprocess import image_mm2
from chestseg.inference.predictor import Predictor
from chestseg.inference.volume_inputs import VolumeInput, read_place, said_greys
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.inference.write import Results, describe
from chestseg.inference.write_volume import VolumeResults, describe_volume
from chestseg.models.precision import Precision
from chestseg.preprocessing import VolumePreprocessing

FILES = {"png": "masks/{}.png", "nifti": "masks/{}.nii.gz", "overlay": "overlays/{}.png", "json": "cases/{}.json"}
"""What `Results` and `VolumeResults` write for a case."""
MOST_DEATHS = 2


@dataclass(frozen=True)
class BatchSettings:
    """How a batch segments; small, and travels between processes."""

    output: str
    """The same folder from every node, or a bucket's URI."""
    formats: tuple[str, ...]
    """As for `chestseg predict`."""
    device: str = "auto"
    precision: Precision = "auto"
    memory_gb: float = 4.0
    """Volumes: for the whole process."""
    series: Mode = "strict"
    window: tuple[float, float] | None = None
    """Volumes: the lowest and highest value of NIfTI files that do not hold HU."""


def segments_volumes(bundle: Bundle) -> bool:
    """Whether a bundle is for volumes, not for radiographs."""
    return isinstance(bundle.spec.preprocessing, VolumePreprocessing)


class BatchWorker:
    """Segments items one by one with the results of `chestseg predict`, and marks each as done after its files are written.

    Args:
        bundle: of either track.
        settings: how.

    Raises:
        ValueError: no such format or device, or a bundle whose weights do not fit.
    """

    def __init__(self, bundle: Bundle, settings: BatchSettings) -> None:
        self.settings = settings
        self._open = contextlib.ExitStack()  # what it holds goes when this object does
        self.markers = self._open.enter_context(worker_results(settings.output))
        self.output = self.markers.output
        self.named = {"name": bundle.spec.name, "digest": bundle.digest}
        device, precision = settings.device, settings.precision
        self._do: _Radiographs | _Volumes
        if segments_volumes(bundle):
            predictor = VolumePredictor(bundle, device=device, precision=precision, memory_gb=settings.memory_gb)
            results = VolumeResults(self.output, settings.formats, self.named, predictor.preprocessing.window)
            greys = said_greys(settings.window, predictor.preprocessing)
            self._do = _Volumes(predictor, results, settings.series, greys)
        else:
            self._do = _Radiographs(
                Predictor(bundle, device=device, precision=precision), Results(self.output, settings.formats, self.named)
            )

    def do(self, item: Item) -> list[Row]:
        """Segment an item and write its files.

        Returns:
            A row for each of its cases, by the columns of `batch_results`; one that could not be segmented has its reason.

        Raises:
            OSError: the output can't be written.
            ValueError: its bucket, or that of the item, is away or refuses, or the disk has no room for the item.
        """
        began = time.perf_counter()
        found = self._segmented(item)
        seconds = round((time.perf_counter() - began) / max(1, len(found)), 3)
        rows = [self._row(item, row, seconds) for row in found]
        files = [self.output / path for row in rows if not row["reason"] for path in self._files(row["case"])]
        if any(row["reason"] for row in rows):
            self.markers.keep(files)
            self.markers.forget(item)
        else:
            self.markers.write(item, rows, files)
        return rows

    def _segmented(self, item: Item) -> list[Row]:
        if self.markers.begun(item) >= MOST_DEATHS:
            return [_failed(item.name, f"{item.source}: ended the process that read it {MOST_DEATHS} times: out of memory, or damaged")]
        try:
            if item.copied:
                item.copied.bring()
        except FileNotFoundError:
            return [_failed(item.name, f"{item.source}: gone from the bucket since it was listed")]
        try:
            return list(self._do(item))
        except ValueError as error:
            return [_failed(item.name, str(error).replace(str(item.path), item.source))]

    def _files(self, case: str) -> Iterator[str]:
        return (FILES[name].format(case) for name in self.settings.formats if name in FILES)

    def _row(self, item: Item, row: Row, seconds: float) -> Row:
        about = {"source": item.source, "model": self.named["name"], "version": self.named["digest"], "seconds": seconds}
        return {"reason": ""} | row | about


def refused(item: Item, bundle: Bundle) -> Row:
    """The row of an item that listing refused."""
    return _failed(item.name, item.refusal) | {"source": item.source, "model": bundle.spec.name, "version": bundle.digest}


def _failed(case: str, reason: str) -> Row:
    return {"case": case, "reason": " ".join(reason.split())}


class _Radiographs:
    def __init__(self, predictor: Predictor, results: Results) -> None:
        self.predictor, self.results = predictor, results

    def __call__(self, item: Item) -> Iterator[Row]:
        radiograph = read_radiograph(item.path, item.source)
        shown = image_mm2(radiograph.pixels.shape, radiograph.spacing_mm)
        [prediction] = self.predictor.predict([radiograph.pixels], shown_mm2=[shown])
        self.results.add(item.name, item.source, radiograph, prediction)
        coded = self.results.rows.pop()
        row: dict[str, Any] = {"case": item.name} | describe(prediction, radiograph.spacing_mm)
        yield row | ({RLE: coded[1]} if RLE in self.results.formats else {})


class _Volumes:
    def __init__(self, predictor: VolumePredictor, results: VolumeResults, mode: Mode, greys: Greys | None) -> None:
        self.predictor, self.results, self.greys = predictor, results, greys
        self.mode: Mode = mode

    def __call__(self, item: Item) -> Iterator[Row]:
        refusals: list[str] = []
        for case in self._read(item, refusals):
            try:
                prediction = self.predictor.predict(case.volume)
            except ValueError as error:
                refusals.append(f"{item.source}: {error}")
                continue
            case = replace(case, source=item.source)
            self.results.add(case, prediction)
            yield {"case": case.name} | describe_volume(case, prediction)
        yield from (_failed(item.name, line.replace(str(item.path), item.source)) for line in refusals)

    def _read(self, item: Item, refusals: list[str]) -> Iterator[VolumeInput]:
        if item.series is None:
            yield from read_place(item.name, item.path, refusals.append, self.mode, self.greys)
        else:
            series = read_series(item.series, self.mode)
            yield VolumeInput(item.name, item.source, series.volume, series)
