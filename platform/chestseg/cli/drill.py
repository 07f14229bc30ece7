"""`chestseg drill`: a training on a cluster simulated on this machine, disturbed in every way it ought to survive."""

import sys
import tempfile
from pathlib import Path

from chestseg.cli.leaving import leaving_at_sigterm
from chestseg.distributed.drill import drill, require_cluster_of_its_own, table

LOST = 1


def run(short: bool = False, seed: int = 0) -> int:
    """Drill, and print what each fault cost; 0 where nothing was lost, 1 where something was.

    Raises:
        ValueError: RAY_ADDRESS is set.
    """
    require_cluster_of_its_own()
    with leaving_at_sigterm(), tempfile.TemporaryDirectory(prefix="drill-") as folder:
        told = drill(Path(folder), short, seed, lambda line: print(line, file=sys.stderr, flush=True))
    print("\n".join(table(told)))
    return LOST if told.lost else 0
