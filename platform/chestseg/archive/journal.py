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
        folder: of the journal, made with its first line.
        server: the server's address.
        read_only: whether lines are kept in memory only.

    Raises:
        ValueError: the file is no journal.
    """

    def __init__(self, folder: Path, server: str, *, read_only: bool = False) -> None:
        self.path, self.server, self.read_only = folder / NAME, server, read_only
        self.images: dict[str, str] = {}
        try:
            self.images |= {line["result"]: line["images"] for line, _ in read_lines(self.path) if line["server"] == server}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path}: not a journal ({error}): give another --journal") from None

    def settled(self, result: str, images: Sequence[str]) -> bool:
        """Whether the series whose result is the series `result` was dealt with as it is now."""
        return self.images.get(result) == _digest(images)

    def note(self, result: str, images: Sequence[str], study: str, series: str, what: str, reasons: Sequence[str] = ()) -> None:
        """Settle a series; on disk on return."""
        digest = _digest(images)
        self.images[result] = digest
        if self.read_only:
            return
        line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "server": self.server, "study": study, "series": series}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_lines(self.path, [line | {"result": result, "images": digest, "what": what, "reasons": list(reasons)}])


def _digest(images: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(images)).encode()).hexdigest()[:16]
