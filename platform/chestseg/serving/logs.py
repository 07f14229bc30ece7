"""Logs as JSON lines on standard error, which Ray gathers: what happened, to which request, nothing of the patient."""

import json
import logging
import sys
from datetime import UTC, datetime

STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
LOGGER = "chestseg"
SILENT = ("pydicom", "highdicom", "python_multipart")
"""They quote what files hold."""


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, and what `extra=` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        line |= {key: value for key, value in record.__dict__.items() if key not in STANDARD and not key.startswith("ray_")}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def start_logs(app: str) -> None:
    """Send this process's logs of chestseg to standard error as JSON lines; a replica calls it once."""
    root = logging.getLogger(LOGGER)
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(lambda record: setattr(record, "app", app) or True)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
