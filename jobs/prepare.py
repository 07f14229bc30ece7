"""Decode an experiment's sources once into its prepared dataset: `python jobs/prepare.py CONFIG [--set k=v]...`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
