"""SIIM-ACR Pneumothorax Segmentation: DICOM files in a tree, their masks in a table.

The archive unpacks to `dicom-images-train/<study>/<series>/<SOPInstanceUID>.dcm`, `dicom-images-test/` likewise, `stage_2_images/`, and
the table `train-rle.csv` (stage 1) or `stage_2_train.csv` (both stages; labels the first stage's test files too).
"""

from pathlib import Path

from chestseg.arrays.rle import EMPTY, SIIM_SHAPE, parse_rle
from chestseg.config import Source
from chestseg.data.cases import CaseSource, LeftOut, Listing
from chestseg.data.rle_table import Row, find_table, read_table
from chestseg.data.tree import DICOM, files_by_stem, source_name
from chestseg.dicom.dataset import read_shape

UNLABELLED = "no row in the table, so it is unlabelled"
NO_FILE = "a row of the table, but no file"
PROBES = 5
"""How many files are asked for the size of the images before the published one is taken."""


def list_siim(source: Source) -> Listing:
    """Cases of a folder with a table of masks and DICOM files anywhere below it, joined by the file's name, its SOPInstanceUID.

    No pixels are decoded. A file without a row is left out: it is unlabelled, not negative. So is a row without a file.

    Raises:
        ValueError: one line that names the file: a missing folder or table, a wrong header, one id in two files, no file with a row,
            or a code that is none or goes beyond the images.
    """
    root, name = Path(source.path), source_name(source)
    files, _ = files_by_stem(root, DICOM)
    if not files:
        raise ValueError(f"{root}: no .dcm file in it or below it: unpack SIIM-ACR's images there")
    table = find_table(root)
    rows = read_table(table)
    labelled = [case_id for case_id in files if case_id in rows]
    if not labelled:
        raise ValueError(
            f"{table}: none of its {len(rows)} images is among the {len(files)} DICOM files of {root}: take the table of these files"
        )
    shape = _common_shape([files[case_id] for case_id in labelled if rows[case_id][0].code != EMPTY])
    cases = [_case(case_id, name, files[case_id], rows[case_id], shape, table) for case_id in labelled]
    unlabelled = [LeftOut(case_id, path, UNLABELLED, name) for case_id, path in files.items() if case_id not in rows]
    without_file = [LeftOut(case_id, str(table), NO_FILE, name) for case_id in sorted(rows.keys() - files.keys())]
    return Listing(cases, unlabelled + without_file)


def _common_shape(paths: list[str]) -> tuple[int, int]:
    """Size of the images, for which the codes were made: it is in no table, and one for all files as published."""
    for path in paths[:PROBES]:
        try:
            return read_shape(path)
        except ValueError:
            # A broken file is found out when it is read; the next one says the size as well.
            continue
    return SIIM_SHAPE


def _case(case_id: str, source: str, path: str, rows: list[Row], shape: tuple[int, int], table: Path) -> CaseSource:
    if rows[0].code == EMPTY:
        return CaseSource(case_id, source, path, negative=True, sop_uid=case_id)
    for row in rows:
        try:
            parse_rle(row.code, shape)
        except ValueError as error:
            raise ValueError(f"{table}: line {row.line}, {case_id}: {error}") from None
    return CaseSource(case_id, source, path, rle=tuple(row.code for row in rows), rle_shape=shape, sop_uid=case_id)
