"""The format that Accept asks for."""

import pytest

from chestseg.serving.front import Refusal
from chestseg.serving.uploads import wanted_format

MEDIA = {"json": "application/json", "png": "image/png", "overlay": "image/png", "dicom": "application/dicom"}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("image/png", "png"),
        ("IMAGE/*", "png"),
        ("application/*", "json"),
        ("application/dicom, application/json;q=0.5", "dicom"),
        ("text/html, image/png;q=0.4, */*;q=0.3", "png"),
        ("application/json;q=0, */*", "png"),
        ("text/html,*/*;q=nonsense, application/dicom;q=0.1", "dicom"),
    ],
)
def test_the_best_liked_is_taken(accept: str | None, expected: str) -> None:
    assert wanted_format(accept, MEDIA) == expected


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0"])
def test_nothing_that_is_liked(accept: str) -> None:
    with pytest.raises(Refusal) as refusal:
        wanted_format(accept, MEDIA)
    assert refusal.value.status == 406 and "application/dicom" in refusal.value.message
