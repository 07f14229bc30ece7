"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real images; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("CHESTSEG_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    if not (folder / "siim").is_dir():
        pytest.skip("no real images: set CHESTSEG_DATA to the folder that holds siim/, pneumothorax_png/ and covid_cxr_png/")
    return folder
