"""`chestseg predict`: segment radiographs or volumes into masks on their own grid."""

import sys
from collections.abc import Sequence
from typing import Literal

from tqdm import tqdm

from chestseg.bundle import Bundle
from chestseg.dicom.radiograph import read_radiograph
from chestseg.inference.inputs import case_names, list_images
from chestseg.inference.locate import open_bundle
from chestseg.inference.postprocess import image_mm2
from chestseg.inference.predictor import Predictor
from chestseg.inference.volume_inputs import NO_WINDOW, list_volumes, read_volumes, said_greys
from chestseg.inference.volume_predictor import VolumePredictor
from chestseg.inference.write import Results
from chestseg.inference.write_volume import VolumeResults
from chestseg.models.precision import Precision
from chestseg.preprocessing import VolumePreprocessing
from chestseg.storage.copies import here, results

FEW = 20
BROKEN = 1


def run(
    files: Sequence[str],
    model: str,
    output: str,
    formats: Sequence[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    tracking_uri: str | None = None,
    memory_gb: float = 4.0,
    series: Literal["strict", "repair"] = "strict",
    window: tuple[float, float] | None = None,
) -> int:
    """Segment what a bundle is for: radiographs (DICOM, PNG, JPEG), or volumes (NIfTI, folders and zips of DICOM series).

    A case that can't be read is named on standard error with the reason, and the others are done.

    Args:
        files: files, folders and patterns; also URIs of folders and of single objects.
        model: a bundle's folder or URI, or an MLflow URI.
        output: folder or URI of the results.
        formats: what to write; PNG or NIfTI masks and JSON records when None.
        device: as for the predictors.
        precision: as for the predictors.
        tracking_uri: where MLflow keeps a `models:/` URI.
        memory_gb: volumes: main memory for the whole process.
        series: volumes: whether a DICOM series with gaps, duplicates or a tilted gantry is refused or repaired.
        window: volumes: the lowest and highest value of NIfTI files that do not hold HU.

    Returns:
        0, or 1 when a case could not be read.

    Raises:
        ValueError: nothing can be done: no such model, format, folder or device, or the output can't be written.
    """
    bundle = open_bundle(model, tracking_uri)
    volumes = isinstance(bundle.spec.preprocessing, VolumePreprocessing)
    if window and not volumes:
        raise ValueError(NO_WINDOW)
    files = [str(here(name)) for name in files]
    try:
        with results(output) as folder:
            if volumes:
                predictor = VolumePredictor(bundle, device=device, precision=precision, memory_gb=memory_gb)
                done, of = _segment_volumes(files, bundle, predictor, str(folder), formats or ("nifti", "json"), series, window)
            else:
                radiograph_predictor = Predictor(bundle, device=device, precision=precision)
                done, of = _segment_radiographs(files, bundle, radiograph_predictor, str(folder), formats or ("png", "json"))
    except OSError as error:
        raise ValueError(f"{error.filename or output}: {error.strerror}: give an --output that can be written, with space") from error
    print(f"{done} of {of} {'volumes' if volumes else 'images'} in {output}, by {bundle.spec.name} {bundle.digest[:12]}")
    return 0 if done == of else BROKEN


def _segment_radiographs(
    files: Sequence[str], bundle: Bundle, predictor: Predictor, output: str, formats: Sequence[str]
) -> tuple[int, int]:
    """Read, segment and write case by case; how many were, and of how many."""
    paths = list_images(files)
    results = Results(output, formats, _named(bundle))
    for name, path in tqdm(list(zip(case_names(paths), paths, strict=True)), desc="predict", unit="image", disable=len(paths) <= FEW):
        try:
            radiograph = read_radiograph(path)
        except ValueError as error:
            _refuse(str(error))
            continue
        shown = image_mm2(radiograph.pixels.shape, radiograph.spacing_mm)
        [prediction] = predictor.predict([radiograph.pixels], shown_mm2=[shown])
        results.add(name, path, radiograph, prediction)
    results.close()
    return len(results.rows), len(paths)


def _segment_volumes(
    files: Sequence[str],
    bundle: Bundle,
    predictor: VolumePredictor,
    output: str,
    formats: Sequence[str],
    series: Literal["strict", "repair"],
    window: tuple[float, float] | None,
) -> tuple[int, int]:
    """As of radiographs; a bar tells of each volume's patches."""
    results = VolumeResults(output, formats, _named(bundle), predictor.preprocessing.window)
    greys = said_greys(window, predictor.preprocessing)
    refused: list[str] = []

    def refuse(line: str) -> None:
        refused.append(line)
        _refuse(line)

    for case in read_volumes(list_volumes(files), refuse, series, greys):
        with tqdm(desc=case.name, unit="patch", leave=False, delay=2) as bar:

            def show(done: int, of: int, bar: tqdm = bar) -> None:
                bar.total = of
                bar.update(done - bar.n)

            try:
                prediction = predictor.predict(case.volume, show)
            except ValueError as error:
                refuse(f"{case.source}: {error}")
                continue
        results.add(case, prediction)
    return results.written, results.written + len(refused)


def _named(bundle: Bundle) -> dict[str, str]:
    return {"name": bundle.spec.name, "digest": bundle.digest}


def _refuse(line: str) -> None:
    tqdm.write(f"chestseg: error: {' '.join(line.split())}", file=sys.stderr)
