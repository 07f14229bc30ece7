"""How a command that holds processes, disks or files ends where it is asked to by a signal: as by an error, so that all of them go too."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM
"""Exit code."""


@contextlib.contextmanager
def leaving_at_sigterm() -> Iterator[None]:
    """SIGTERM, as of a supervisor or `kill`, raises SystemExit in the block."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
