"""The budget: what fits, and a whole process that stays within it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from chestseg.config import Triple
from chestseg.inference.memory import GB, batch_that_fits

PATCH: Triple = (16, 192, 192)
SMALL: Triple = (100, 200, 200)

LARGE = """
from pathlib import Path
import numpy as np
from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.inference.predictor import LiveModel
from chestseg.inference.volume_predictor import VolumePredictor
from tests.inference.tiny_volume import LUNG, TISSUE, Band, PREPROCESSING
from chestseg.config import VolumePostprocessing

hu = np.full((600, 512, 512), TISSUE, np.int16)
hu[100:500, 100:400, 60:220] = hu[100:500, 100:400, 280:450] = LUNG
hu[200:300, 150:250, 100:150] = -200
grid = Grid.upright(hu.shape, (0.6, 0.7, 0.7))
pre = PREPROCESSING.model_copy(update={"spacing": grid.spacing, "patch": (16, 256, 256)})
found = VolumePredictor(LiveModel(Band(), pre, VolumePostprocessing(overlap=0, min_lesion_ml=1))).predict(Volume(hu, grid))
assert (found.mask == (hu == -200)).mean() > 0.999
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak) * 1024)
"""


def held() -> float:
    return psutil.Process().memory_info().rss / GB


def test_all_that_are_wanted_where_there_is_room() -> None:
    assert batch_that_fits(4, PATCH, SMALL, SMALL, held() + 10, on_cpu=True) == 4


def test_fewer_where_there_is_less() -> None:
    assert 1 <= batch_that_fits(100, PATCH, SMALL, SMALL, held() + 2, on_cpu=True) < 10
    assert batch_that_fits(100, PATCH, SMALL, SMALL, held() + 2, on_cpu=False) == 100


@pytest.mark.parametrize("on_cpu", [True, False])
def test_what_does_not_fit_is_refused(on_cpu: bool) -> None:
    large = (3000, 512, 512)
    with pytest.raises(ValueError, match=r"a volume of 3000x512x512 voxels, 3000x512x512 for the network, needs .* GB, memory_gb is 3: "):
        batch_that_fits(1, PATCH, large, large, 3, on_cpu=on_cpu)


@pytest.mark.slow
def test_600_slices_at_their_own_spacing_within_4_gb() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert int(done.stdout) < 4 * GB
