"""Look whether the cluster is fit for an experiment or a sweep: `python jobs/doctor.py [CONFIG] [--json] [--set k=v]...`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
