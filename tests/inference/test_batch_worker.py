"""What one process of a batch makes of an item, without a cluster."""

from pathlib import Path

import numpy as np
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import Bundle, save_bundle
from chestseg.inference.batch_items import list_ct
from chestseg.inference.batch_worker import BatchSettings, BatchWorker
from chestseg.nifti import write_nifti
from tests.inference.tiny_volume import SPACING, WINDOW, chest, tiny_network, tiny_spec

HU = chest()[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_bundle(tmp_path_factory.mktemp("model") / "bundle", tiny_spec(), tiny_network().state_dict())


@pytest.mark.parametrize(("window", "reason"), [(None, "greys.nii.gz: values from 0 to 743 are not HU"), ((0.0, 1000.0), "")])
def test_greys_are_refused_unless_their_window_is_said(
    bundle: Bundle, tmp_path: Path, window: tuple[float, float] | None, reason: str
) -> None:
    greys = np.rint((HU - WINDOW[0]) * (1000 / (WINDOW[1] - WINDOW[0]))).astype(np.int16)
    write_nifti(tmp_path / "greys.nii.gz", Volume(greys, Grid.upright(HU.shape, SPACING)))  # type: ignore[arg-type]
    (item,) = list_ct([str(tmp_path / "greys.nii.gz")])
    settings = BatchSettings(str(tmp_path / "out"), ("nifti", "json"), "cpu", window=window)
    (row,) = BatchWorker(bundle, settings).do(item)
    assert reason in row["reason"] and bool(row["reason"]) == bool(reason)
    assert (tmp_path / "out" / "masks" / "greys.nii.gz").exists() == (not reason)
