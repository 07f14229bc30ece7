"""`chestseg segment`: have radiographs or volumes segmented by a running endpoint, and write what it answers."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from chestseg.client import Answer, Client, Refused, read_token
from chestseg.files import whole_file
from chestseg.inference.inputs import case_names, list_images
from chestseg.inference.volume_inputs import list_volumes, place_names
from chestseg.storage.copies import here, results

VARIABLE = "CHESTSEG_TOKEN"
FEW = 20
BROKEN = 1
TRIES = 3
"""Of asking for all formats of a radiograph until one version answers all of them."""


class Written(NamedTuple):
    """Where a format's files go."""

    folder: str
    suffix: str


RADIOGRAPHS = {
    "json": Written("cases", ".json"), "png": Written("masks", ".png"), "overlay": Written("overlays", ".png"),
    "dicom": Written("segmentations", ".dcm"),
}  # fmt: skip
VOLUMES = {
    "json": Written("cases", ".json"), "nifti": Written("masks", ".nii.gz"), "seg": Written("segmentations", ".dcm"),
    "png": Written("overlays", ".png"), "zip": Written("all", ".zip"), "image": Written("images", ".nii.gz"),
}  # fmt: skip
Segment = Callable[[Path], Mapping[str, Answer]]


def run(
    files: Sequence[str],
    url: str,
    output: str,
    formats: Sequence[str] | None = None,
    token_file: str | None = None,
    series: Literal["strict", "repair"] | None = None,
    at_once: int = 4,
) -> int:
    """Send what is named, wait for the answers and write them as `predict` does.

    A file that is refused is named on standard error with the reason, and the others are done.

    Args:
        files: files, folders and patterns; also URIs of folders and of single objects.
        url: of the app; its endpoint decides whether these are radiographs or volumes.
        output: folder of the results; or a URI, under which they are put when all are there.
        formats: what to ask for; PNG or NIfTI masks and JSON records when None.
        token_file: holds the token; the variable CHESTSEG_TOKEN, or no token, when None.
        series: volumes: whether a DICOM series with gaps and the like is refused or repaired; the endpoint's setting when None.
        at_once: requests under way together.

    Returns:
        0, or 1 when a file was refused.

    Raises:
        ValueError: nothing can be done: no such file or format, or the endpoint can't be reached or refuses the token.
    """
    if at_once < 1:
        raise ValueError(f"at-once {at_once}: send at least one file at a time")
    files = [str(here(name)) for name in files]
    client = Client(url, read_token(token_file) if token_file else os.environ.get(VARIABLE))
    if client.track() == "cxr":
        known, formats, paths = RADIOGRAPHS, formats or ("png", "json"), list_images(files)
        names, segment = case_names(paths), _radiographs(client, formats)
    else:
        known, formats, paths = VOLUMES, formats or ("nifti", "json"), list_volumes(files)
        names, segment = place_names(paths), _volumes(client, formats, series)
    if unknown := [name for name in formats if name not in known]:
        raise ValueError(f"format {unknown[0]!r}: this endpoint answers {', '.join(known)}")
    with results(output) as folder:
        refusals = _each(names, paths, segment, lambda *case: _write(folder, known, *case), at_once)
    print(f"{len(paths) - len(refusals)} of {len(paths)} segmented in {output}, by {url}")
    return BROKEN if refusals else 0


def _each(
    names: Sequence[str], paths: Sequence[Path], segment: Segment, write: Callable[[str, Path, Mapping[str, Answer]], None], at_once: int
) -> list[str]:
    """Segment and write each case; the refusals, one line each."""
    refusals = []

    def one(name: str, path: Path) -> str | None:
        try:
            write(name, path, segment(path))
        except Refused as refusal:
            if refusal.status == 401:
                raise
            return f"{path}: {refusal}"
        return None

    pool = ThreadPoolExecutor(at_once)
    try:
        for refusal in tqdm(pool.map(one, names, paths), desc="segment", total=len(paths), unit="file", disable=len(paths) <= FEW):
            if refusal:
                refusals.append(refusal)
                print(refusal, file=sys.stderr)
    finally:
        pool.shutdown(cancel_futures=True)
    return refusals


def _radiographs(client: Client, formats: Sequence[str]) -> Segment:
    """One request a format; all of one version of the model, also while it changes."""

    def segment(path: Path) -> Mapping[str, Answer]:
        data = path.read_bytes()
        for _ in range(TRIES):
            answers: dict[str, Any] = {name: client.segment(data, name) for name in formats}  # type: ignore[arg-type]
            if len({answer.headers["X-Model"] for answer in answers.values()}) == 1:
                return answers
        raise Refused("the endpoint answered by another version each time: ask for fewer formats, or later")

    return segment


def _volumes(client: Client, formats: Sequence[str], series: Literal["strict", "repair"] | None) -> Segment:
    """One job, whose results are all of one version."""

    def segment(path: Path) -> Mapping[str, Answer]:
        job = client.wait(client.submit(path, series)["id"])
        return {name: client.result(job["id"], name) for name in formats}  # type: ignore[arg-type]

    return segment


def _write(output: Path, known: Mapping[str, Written], name: str, source: Path, answers: Mapping[str, Answer]) -> None:
    for wanted, answer in answers.items():
        body = answer.body
        if wanted == "json":
            record = {"case": name, "source": source.as_posix()} | answer.json()
            body = (json.dumps(record, indent=2) + "\n").encode()
        with whole_file(output / known[wanted].folder / f"{name}{known[wanted].suffix}") as temporary:
            temporary.write_bytes(body)
