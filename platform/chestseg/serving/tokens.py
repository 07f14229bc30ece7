"""Who may call: bearer tokens with names and rates, read again when their file changes."""

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from chestseg.config import Strict

FILE_VARIABLE = "CHESTSEG_TOKENS_FILE"
VARIABLE = "CHESTSEG_TOKENS"
SHORTEST = 16
MINUTE = 60.0
ANYBODY = "local"
"""What callers are called where there are no tokens."""
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers that say a proxy stands between; who the caller is is then not known from the address."""
OWN_NAMES = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
"""Hosts that a caller on this machine asks for. A proxy may add none of the headers above, and a page whose name was bound to this
machine's address is asked for by a browser that runs here: both name another host."""

logger = logging.getLogger("chestseg.serving")


class Token(Strict):
    """One line of the file."""

    token: str = Field(min_length=SHORTEST, pattern=r"^[\x21-\x7e]+$")
    rate: float | None = Field(default=None, gt=0)
    """Requests in any 60 seconds, counted by each replica of the front; no limit when null."""


@dataclass(frozen=True)
class Caller:
    """Who calls, by the name of the token."""

    name: str


class Denied(Exception):
    """No answer for this caller.

    Args:
        status: 401 (no token, or none of ours) or 429 (too many requests).
        message: for the caller.
        retry_after_s: seconds after which a request may be answered; None with 401.
    """

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


@dataclass
class _Known:
    name: str
    digest: bytes
    rate: float | None
    times: deque[float] = field(default_factory=deque)


class Tokens:
    """The tokens that are valid now.

    A file is YAML: `name: token`, or `name: {token: ..., rate: 60}`; a Secret's mount will do. When it changes it is read again; a
    new file that can't be used is logged once and the tokens before it stay valid.

    Args:
        path: the file; when None the file that CHESTSEG_TOKENS_FILE names, or else the same YAML as the value of CHESTSEG_TOKENS.

    Raises:
        ValueError: a file that is named can't be used; names it and the line's name, never a token.
    """

    def __init__(self, path: str | None = None) -> None:
        path = path or os.environ.get(FILE_VARIABLE)
        self._file = Path(path) if path else None
        self._known: list[_Known] = []
        self._stamp: tuple[int, int, int] | None = None
        if self._file:
            self._stamp = _stamp(self._file)
            self._take(parse_tokens(_read(self._file), str(self._file)))
        elif os.environ.get(VARIABLE):
            self._take(parse_tokens(os.environ[VARIABLE], VARIABLE))
        else:
            logger.warning("no tokens: only clients on this machine are answered; name a file of tokens by %s", FILE_VARIABLE)

    @property
    def required(self) -> bool:
        """Whether callers must show a token."""
        return bool(self._file or self._known)

    def check(self, authorization: str | None, client: str | None, headers: Mapping[str, str]) -> Caller:
        """Who calls.

        Args:
            authorization: the request's header of that name.
            client: the address at the other end of the connection.
            headers: the request's, names in lower case; a request that a proxy passed on, or that asks for another host, is nobody's on
                this machine.

        Raises:
            Denied: nobody who may, or too often.
        """
        if not self.required:
            if _is_local(client) and OWN_NAMES.fullmatch(headers.get("host", "")) and not any(name in headers for name in FORWARDED):
                return Caller(ANYBODY)
            raise Denied(401, "no tokens are set here, so only clients on this machine are answered, at localhost, 127.0.0.1 or [::1]")
        self._refresh()
        scheme, _, shown = (authorization or "").partition(" ")
        digest = _digest(shown.strip())
        # All are compared, each in constant time: how long it takes tells nothing of the tokens.
        found = [known for known in self._known if hmac.compare_digest(known.digest, digest)]
        if scheme.lower() != "bearer" or not found:
            raise Denied(401, "show a token: Authorization: Bearer TOKEN")
        _count(found[0])
        return Caller(found[0].name)

    def _take(self, tokens: Mapping[str, Token]) -> None:
        before = {known.name: known.times for known in self._known}
        self._known = [_Known(name, _digest(t.token), t.rate, before.get(name, deque())) for name, t in tokens.items()]

    def _refresh(self) -> None:
        if self._file is None:
            return
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._take(parse_tokens(_read(self._file), str(self._file)))
        except ValueError as error:
            logger.error("tokens stay as they were: %s", error)
        else:
            logger.info("%d tokens read again", len(self._known))


def parse_tokens(text: str, where: str) -> dict[str, Token]:
    """Tokens by name from YAML text; `where` is what errors call it.

    Raises:
        ValueError: one line that names the place and the name, and no token.
    """
    try:
        tree: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        # Not the error's own words: they quote the text.
        raise ValueError(f"{where}: not YAML: write a line `name: token` for each caller") from None
    if not isinstance(tree, dict) or not tree:
        raise ValueError(f"{where}: holds no tokens: write a line `name: token` for each caller")
    tokens = {str(name): _token(value, f"{where}: {name}") for name, value in tree.items()}
    if len({token.token for token in tokens.values()}) < len(tokens):
        raise ValueError(f"{where}: the same token under two names: give each caller its own")
    return tokens


def _token(value: Any, where: str) -> Token:
    try:
        return Token.model_validate(value if isinstance(value, dict) else {"token": value})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"])) or "token"
        raise ValueError(
            f"{where}: {key}: a token is {SHORTEST} or more printable ASCII characters without spaces, in quotes if it is a number; "
            "a rate is a number of requests a minute"
        ) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: tokens can't be read ({type(error).__name__}): name a text file that this user may read") from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _count(known: _Known) -> None:
    """Let one more request of this token through, or not: a window of 60 seconds that slides."""
    if known.rate is None:
        return
    now = time.monotonic()
    while known.times and known.times[0] <= now - MINUTE:
        known.times.popleft()
    if len(known.times) >= known.rate:
        wait = MINUTE - (now - known.times[0])
        raise Denied(429, f"more than {known.rate:g} requests a minute by this token", max(1, int(wait) + 1))
    known.times.append(now)


def _is_local(client: str | None) -> bool:
    try:
        return client is not None and ipaddress.ip_address(client).is_loopback
    except ValueError:
        return False
