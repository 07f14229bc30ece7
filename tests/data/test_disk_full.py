"""A disk that fills up while a preparation is published."""

import errno
import os
from pathlib import Path

import pytest

from chestseg.config import RadiographData
from chestseg.data.preparation import plan, publish
from tests.data.pictures import SIZES, prepare_plainly, write_pictures


@pytest.mark.parametrize("file", ["manifest.parquet", "quarantine.csv", "report.json", "prepared.json"])
def test_a_disk_that_is_full_at_the_end_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    source = write_pictures(tmp_path / "source", 9)
    settings = RadiographData(sources=(source,), prepared=str(tmp_path / "out"), sizes=SIZES, folds=3)
    prepare_plainly(settings)

    def full(path: Path) -> None:
        if path.name.startswith(f".{file}."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("chestseg.files._sync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'out' / file}'"):
        publish(plan(settings))
    assert not (tmp_path / "out" / "prepared.json").exists()
