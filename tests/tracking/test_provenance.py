"""Equal code has an equal name, changed code another."""

import re
import shutil
from pathlib import Path

import pytest

from chestseg.tracking import provenance
from chestseg.tracking.provenance import code_version, git_commit


def test_changes_with_the_sources_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_version()
    assert re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{12}", before)
    copy = tmp_path / "chestseg"
    shutil.copytree(provenance.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    assert code_version() == before
    assert git_commit() is None
    (copy / "seed.py").write_text("changed = True\n")
    assert code_version() != before
