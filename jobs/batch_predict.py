"""Segment a manifest or folders on a cluster: `python jobs/batch_predict.py FILE... --model BUNDLE_OR_URI --output DIR`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["batch-predict", *sys.argv[1:]]))
