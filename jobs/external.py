"""Evaluate one model on a list of datasets, beside what is published: `python jobs/external.py LIST [--set k=v]...`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["external", *sys.argv[1:]]))
