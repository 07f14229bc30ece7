"""Score an experiment's bundle on a split: `python jobs/evaluate.py CONFIG [--model BUNDLE_OR_URI] [--split test] [--output DIR]`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
