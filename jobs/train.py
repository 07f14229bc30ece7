"""Run an experiment's resolution schedule: `python jobs/train.py CONFIG [--set k=v]...`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
