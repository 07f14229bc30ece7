"""docs/serving.md has every setting with its default, and every format and code that the endpoints answer."""

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from chestseg.config.serving import CtServing, CxrServing, Replicas
from chestseg.serving.radiographs import MEDIA
from chestseg.serving.volume_results import FORMATS
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| `")]


def settings(record: BaseModel, before: str = "") -> Iterator[tuple[str, object]]:
    for name in type(record).model_fields:
        value = getattr(record, name)
        if isinstance(value, Replicas) and name == "front":
            continue
        if isinstance(value, BaseModel):
            yield from settings(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


@pytest.mark.parametrize("record", [CxrServing(), CtServing()], ids=["cxr", "ct"])
def test_every_setting_is_there_with_its_default(record: BaseModel) -> None:
    for key, value in settings(record):
        [row] = [row for row in ROWS if f"`{key}`" in row.split("|")[1]]
        shown = row.split("|")[2].replace(",", "") + row.split("|")[2]
        if value is not None:
            assert (f"{value:.15g}" if isinstance(value, float) else str(value).lower()) in shown.lower(), (key, value, row)


def test_no_setting_is_there_that_does_not_exist() -> None:
    known = {key for record in (CxrServing(), CtServing()) for key, _ in settings(record)} | {"front.…"}
    table = TEXT[TEXT.index("| key | default") : TEXT.index("## Radiographs")]
    assert {name for line in table.splitlines()[2:] if line for name in re.findall(r"`([^`]+)`", line.split("|")[1])} == known


def test_formats_are_there() -> None:
    assert all(any(row.startswith(f"| `{name}`") for row in ROWS) for name in (*MEDIA, *FORMATS))
