"""The manifest: a Parquet table with a row per prepared case, sorted by case id."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chestseg.config import Data
from chestseg.data.folds import group_patients, read_folds, read_patients, split_patients
from chestseg.files import whole_file

CASE = pa.schema(
    [
        ("case_id", pa.string()),
        ("patient_id", pa.string()),  # "" where the file has none
        ("source", pa.string()),
        ("image", pa.string()),  # path of the source file
        ("modality", pa.string()),
        ("view", pa.string()),
        ("sex", pa.string()),
        ("age", pa.string()),
        ("height", pa.int32()),  # rows of the source image, of volumes in canonical orientation
        ("width", pa.int32()),
        ("depth", pa.int32()),  # slices of a volume; null for radiographs
        ("spacing_row", pa.float64()),  # mm, where credible
        ("spacing_col", pa.float64()),
        ("spacing_slice", pa.float64()),
        ("positive", pa.bool_()),
        ("mask_area", pa.int64()),  # pixels or voxels at the source's size
        ("pixel_hash", pa.string()),  # SHA-256 of shape and decoded pixels; of volumes also of the spacing
        ("mask_hash", pa.string()),
    ]
)
"""What decoding says of a case; it does not depend on how cases are split."""

Row = dict[str, Any]
"""Values of a case by column; columns that are not there are null."""

MANIFEST = pa.schema(
    [
        *CASE,
        ("fold", pa.int32()),  # -1 in the test split
        ("split", pa.string()),  # "train" or "test"
        ("shard", pa.int32()),
        ("row", pa.int32()),  # place within the shard
    ]
)


def build_manifest(shards: Sequence[pa.Table], data: Data) -> pa.Table:
    """Join the shards' tables (`CASE`, in order of case id) and give each case its fold and split.

    Duplicate pixels join their patients into one group before folds are drawn.

    Raises:
        ValueError: a folds or patients file that does not fit, or fewer patients than folds.
    """
    cases = _with_patients(pa.concat_tables(shards), data.patients_file)
    if data.folds_file:
        named = read_folds(data.folds_file, data.folds)
        fold = [named[case_id] for case_id in cases["case_id"].to_pylist()]
        split = ["test" if f is None else "train" for f in fold]
    else:
        groups = group_patients(cases["patient_id"].to_pylist(), cases["pixel_hash"].to_pylist())
        fold, split = split_patients(groups, cases["positive"].to_pylist(), data.folds, data.test_share, data.seed)
    places = {
        "fold": [-1 if f is None else f for f in fold],
        "split": split,
        "shard": [shard for shard, table in enumerate(shards) for _ in range(len(table))],
        "row": [row for table in shards for row in range(len(table))],
    }
    return pa.table([*cases.columns, *(pa.array(column) for column in places.values())], names=MANIFEST.names).cast(MANIFEST)


def _with_patients(cases: pa.Table, path: str | None) -> pa.Table:
    """Overrule the files' own patient ids by those of a patients file."""
    if path is None:
        return cases
    named, case_ids = read_patients(path), cases["case_id"].to_pylist()
    if named.keys().isdisjoint(case_ids):
        raise ValueError(
            f"{path}: names none of the {len(case_ids)} cases, the first of which is {case_ids[0]!r}: use case ids as in the sources"
        )
    patients = [named.get(case_id, own) for case_id, own in zip(case_ids, cases["patient_id"].to_pylist(), strict=True)]
    return cases.set_column(cases.column_names.index("patient_id"), CASE.field("patient_id"), [patients])


def dataset_hash(table: pa.Table) -> str:
    """Sixteen hexadecimal digits that change when the pixels, masks or split of any case do."""
    columns = table.select(["case_id", "pixel_hash", "mask_hash", "fold", "split"]).to_pydict()
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()[:16]


def content_hash(array: np.ndarray) -> str:
    """SHA-256 of an array's shape and values."""
    digest = hashlib.sha256(f"{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet whole or not at all; equal tables give equal bytes."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
