"""`chestseg predict`: segment radiographs into masks of their own size."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from chestseg.dicom.radiograph import read_radiograph
from chestseg.inference.inputs import case_names, list_images
from chestseg.inference.locate import open_bundle
from chestseg.inference.predictor import Predictor
from chestseg.inference.write import Results
from chestseg.models.precision import Precision

FEW = 20
BROKEN = 1


def run(
    files: Sequence[str],
    model: str,
    output: str,
    formats: Sequence[str] = ("png", "json"),
    device: str = "auto",
    precision: Precision = "auto",
    tracking_uri: str | None = None,
) -> int:
    """Segment files, folders and patterns of DICOM, PNG and JPEG.

    An image that can't be read is named on standard error with the reason, and the others are done.

    Returns:
        0, or 1 when an image could not be read.

    Raises:
        ValueError: nothing can be done: no such model, format, folder or device, or the output can't be written.
    """
    paths = list_images(files)
    bundle = open_bundle(model, tracking_uri)
    results = Results(output, formats, {"name": bundle.spec.name, "digest": bundle.digest})
    predictor = Predictor(bundle, device=device, precision=precision)
    try:
        done = _segment(list(zip(case_names(paths), paths, strict=True)), predictor, results)
    except OSError as error:
        raise ValueError(f"{error.filename or output}: {error.strerror}: give an --output that can be written, with space") from error
    print(f"{done} of {len(paths)} images in {output}, by {bundle.spec.name} {bundle.digest[:12]}")
    return 0 if done == len(paths) else BROKEN


def _segment(cases: Sequence[tuple[str, Path]], predictor: Predictor, results: Results) -> int:
    """Read, segment and write case by case; returns how many were."""
    for name, path in tqdm(cases, desc="predict", unit="image", disable=len(cases) <= FEW):
        try:
            radiograph = read_radiograph(path)
        except ValueError as error:
            tqdm.write(f"chestseg: error: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        [prediction] = predictor.predict([radiograph.pixels])
        results.add(name, path, radiograph, prediction)
    results.close()
    return len(results.rows)
