"""Files that take a moment to come, as from storage far away: what Ray calls in each process that it starts for `benchmarks.data_plane`.

A module of its own, which imports nothing of ours before the reader is changed: whoever imported it earlier would keep the old one.
"""

import os
import time

DELAY, SLOW = "CHESTSEG_BENCHMARK_DELAY", "CHESTSEG_BENCHMARK_SLOW"
"""Environment of the processes: seconds, and the folder whose files take them."""


def wait_at_every_file() -> None:
    """Reading a radiograph of the slow folder takes so much longer from now on."""
    from chestseg.dicom import radiograph

    read, seconds, slow = radiograph.read_radiograph, float(os.environ[DELAY]), os.environ[SLOW]

    def read_late(source: object, *more: object) -> object:
        if str(source).startswith(slow):
            time.sleep(seconds)
        return read(source, *more)  # type: ignore[arg-type]

    radiograph.read_radiograph = read_late  # type: ignore[assignment]
