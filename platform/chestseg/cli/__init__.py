"""`chestseg COMMAND`: parse, import the command's module, call its `run`, turn a user's mistake into one line."""

import importlib
import sys
from collections.abc import Sequence

from chestseg.cli.parser import build_parser
from chestseg.files import FULL

MISTAKE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the command and its arguments; those of the process when None.

    Returns:
        What the command returns; 2 after a `ValueError` or a file that can't be read or written or a full disk, which is printed as
        one line; 130 after Ctrl-C. Every other exception is a defect and leaves with its traceback, and with `--debug` so do these.

    Raises:
        SystemExit: the parser's own, code 2, for arguments it does not know.
    """
    arguments = vars(build_parser().parse_args(argv))
    command, debug = arguments.pop("command"), arguments.pop("debug")
    try:
        return importlib.import_module(f"chestseg.cli.{command.replace('-', '_')}").run(**arguments)
    except ValueError as error:
        if debug:
            raise
        print(f"chestseg: error: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE
    except OSError as error:
        if debug or (error.filename is None and error.errno not in FULL):
            raise
        named = "" if error.filename is None else f"{error.filename}: "
        remedy = ": make room and start it again" if error.errno in FULL else ""
        print(f"chestseg: error: {named}{error.strerror}{remedy}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        if debug:
            raise
        print("chestseg: interrupted", file=sys.stderr)
        return INTERRUPTED
