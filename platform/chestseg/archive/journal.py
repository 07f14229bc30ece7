"""What was done with which series, and why not: one JSON line each, so that nothing is done or refused twice."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from chestseg.json_lines import append_lines, read_lines

STORED, REFUSED, PASSED = "stored", "refused", "passed over"
NAME = "journal.jsonl"


class Journal:
    """Of one server. A series that a line tells of is settled as long as its images are the same.

    Args:
        folder: of the journal, made with its first line; None keeps it in memory.
        server: the server's address.

    Raises:
        ValueError: the file is no journal.
    """

    def __init__(self, folder: Path | None, server: str) -> None:
        self.path, self.server = folder and folder / NAME, server
        self.images: dict[str, str] = {}
        try:
            lines = [line for line, _ in read_lines(self.path)] if self.path else []
            self.images |= {line["result"]: line["images"] for line in lines if line["server"] == server}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path}: not a journal ({error}): give another --journal") from None

    def settled(self, result: str, images: Sequence[str]) -> bool:
        """Whether the series whose result is the series `result` was dealt with as it is now."""
        return self.images.get(result) == _digest(images)

    def note(self, result: str, images: Sequence[str], study: str, series: str, what: str, reasons: Sequence[str] = ()) -> None:
        """Settle a series; on disk on return."""
        digest = _digest(images)
        self.images[result] = digest
        if self.path is None:
            return
        line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "server": self.server, "study": study, "series": series}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_lines(self.path, [line | {"result": result, "images": digest, "what": what, "reasons": list(reasons)}])


def _digest(images: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(images)).encode()).hexdigest()[:16]
