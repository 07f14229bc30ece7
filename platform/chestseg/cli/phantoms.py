"""`chestseg phantoms`: generated radiographs and CTs in the layouts of public data sets, for trying things out."""

import os

from tqdm import tqdm

from chestseg.phantoms.ct.files import write_ct_nifti
from chestseg.phantoms.ct.ricord import write_ricord
from chestseg.phantoms.radiograph.siim import write_siim

MOST_PROCESSES, WORTH_A_PROCESS = 8, 16
"""Processes that draw radiographs, and how many radiographs pay for starting one."""


def run(output: str, count: int, seed: int, size: int, kind: str = "siim") -> int:
    """Write `count` phantoms under `output`.

    Args:
        output: the folder.
        count: radiographs or studies.
        seed: equal arguments give equal bytes.
        size: edge of radiographs in pixels.
        kind: `siim` (radiographs as DICOM with a table, and a tenth as many unlabelled ones), `ricord` (CTs as DICOM series with outlines
            in JSON) or `nifti` (CTs and masks in two folders).

    Raises:
        ValueError: a count or size out of range, or a folder that holds something else.
    """
    with tqdm(desc="phantoms", unit="case", delay=1) as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        if kind == "siim":
            processes = max(1, min(MOST_PROCESSES, os.cpu_count() or 1, count // WORTH_A_PROCESS))
            write_siim(output, count, seed, size, progress=show, processes=processes)
        else:
            write = write_ricord if kind == "ricord" else write_ct_nifti
            write(output, count, seed, progress=show)
    print(f"{count} phantoms in {output}")
    return 0
