"""Move the champion alias to the candidate where the gate allows it: `python jobs/promote.py CONFIG [--rollback] [--set k=v]...`."""

import sys

from chestseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["promote", *sys.argv[1:]]))
