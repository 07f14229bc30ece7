"""`chestseg prepare`: from the sources to the prepared dataset, once."""

from collections.abc import Sequence

from chestseg.config import load_experiment
from chestseg.distributed.prepare import prepare


def run(config_path: str, overrides: Sequence[str] = ()) -> int:
    """Prepare an experiment's data and print what was read, left out and why; the same command again goes on where it was stopped.

    Raises:
        ValueError: the config, the sources, the split or the disk don't allow it.
    """
    report = prepare(load_experiment(config_path, overrides).data)
    print("\n".join(report.lines()))
    return 0
