"""Search the resolution schedule and the averaging window: `python jobs/tune.py SWEEP [--set k=v]...`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
