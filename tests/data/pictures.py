"""A source of small PNG radiographs with masks, and its preparation without Ray."""

from pathlib import Path

import numpy as np
from PIL import Image

from chestseg.config import Data, Source
from chestseg.data.preparation import plan, publish
from chestseg.data.report import PrepareReport
from chestseg.data.shards import write_shard

SIZES = (32, 64)


def write_picture(folder: Path, name: str, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{name}.png")


def write_pictures(folder: Path, count: int, prefix: str = "case") -> Source:
    """Noise of 40x48 pixels; every third mask has a square, the others are empty."""
    for index in range(count):
        noise = np.random.default_rng([index, *prefix.encode()]).integers(0, 256, (40, 48), np.uint8)
        mask = np.zeros_like(noise)
        mask[10:20, 5:25] = 255 * (index % 3 == 0)
        write_picture(folder / "images", f"{prefix}-{index:03d}", noise)
        write_picture(folder / "masks", f"{prefix}-{index:03d}", mask)
    return Source(reader="image_folder", path=str(folder))


def prepare_plainly(data: Data) -> PrepareReport:
    """What `prepare` does, in this process."""
    preparation = plan(data)
    for shard in preparation.pending:
        write_shard(shard, preparation.folder)
    return publish(preparation)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
