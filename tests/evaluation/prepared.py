"""A prepared dataset of bright rectangles, written in the layout that `PreparedDataset` reads."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from chestseg.arrays.resize import resize_image, resize_mask
from chestseg.data.manifest import MANIFEST, dataset_hash, write_table
from chestseg.data.prepared import PreparedDataset, array_path, shard_folder

COUNT = 9
SIZES = (64, 128)


def write_prepared(folder: Path) -> PreparedDataset:
    """Nine cases; every third is negative and of another source. Cases 0 to 2 are fold 0, 3 to 5 fold 1, the rest the test split."""
    images, masks = zip(*(_case(index) for index in range(COUNT)), strict=True)
    shard = shard_folder(folder, 0)
    shard.mkdir(parents=True)
    for size in SIZES:
        np.save(array_path(shard, "image", size), np.stack([resize_image(image, size) for image in images]))
        np.save(array_path(shard, "mask", size), np.stack([resize_mask(mask, size) for mask in masks]))
    table = _manifest(np.array([mask.any() for mask in masks]))
    write_table(folder / "manifest.parquet", table)
    facts = {"format": 1, "sizes": SIZES, "dataset_hash": dataset_hash(table), "split": {}}
    (folder / "prepared.json").write_text(json.dumps(facts))
    return PreparedDataset.open(folder)


def _case(index: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((128, 128), np.uint8)
    if index % 3:
        mask[21 : 40 + 6 * index, 30:91] = 1
    return np.where(mask == 1, 210, 30).astype(np.uint8), mask


def _manifest(positive: np.ndarray) -> pa.Table:
    names = [f"case-{index}" for index in range(COUNT)]
    columns = {name: [None] * COUNT for name in MANIFEST.names} | {
        "case_id": names,
        "patient_id": names,
        "source": ["chests" if found else "others" for found in positive],
        "positive": positive,
        "pixel_hash": names,
        "mask_hash": names,
        "fold": [0, 0, 0, 1, 1, 1, -1, -1, -1],
        "split": ["train"] * 6 + ["test"] * 3,
        "shard": [0] * COUNT,
        "row": list(range(COUNT)),
    }
    return pa.table(columns, schema=MANIFEST)
