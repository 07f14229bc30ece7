"""Hold out every fold once and put the networks together: `python jobs/cross_validate.py CONFIG [--set k=v]...`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["cross-validate", *sys.argv[1:]]))
