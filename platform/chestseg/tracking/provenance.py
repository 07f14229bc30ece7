"""Which code ran: the package's own bytes, and the commit they were checked out from where there is one."""

import hashlib
import subprocess
from pathlib import Path

import chestseg

PACKAGE = Path(chestseg.__file__).parent


def code_version() -> str:
    """Version and twelve hexadecimal digits over the package's sources, e.g. `0.1.0+3f9a...`: equal code, equal text, git or not."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return f"{chestseg.__version__}+{digest.hexdigest()[:12]}"


def git_commit() -> str | None:
    """Commit of the checkout the package runs from; None for an installed package or an uploaded copy."""
    tracked = _git("ls-files", "__init__.py")
    return _git("rev-parse", "HEAD") if tracked else None


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
