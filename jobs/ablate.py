"""Train an experiment's variations and tell what each part brings: `python jobs/ablate.py ABLATION [--set k=v]...`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["ablate", *sys.argv[1:]]))
