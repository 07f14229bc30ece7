"""Tokens: who is let in, how often, and that a file which changes counts at once and a broken one not at all."""

import logging
import os
import re
from pathlib import Path

import pytest

from chestseg.serving.tokens import FILE_VARIABLE, VARIABLE, Denied, Tokens, parse_tokens
from tests.conftest import ROOT

A, B = "a" * 16, "b" * 40
OWN = "127.0.0.1:8000"


@pytest.fixture(autouse=True)
def no_tokens_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)


def shown(tokens: Tokens, authorization: str | None, client: str | None = "10.1.2.3", **headers: str) -> str:
    return tokens.check(authorization, client, headers).name


def status(tokens: Tokens, authorization: str | None, client: str | None = "10.1.2.3", **headers: str) -> int:
    with pytest.raises(Denied) as denied:
        shown(tokens, authorization, client, **headers)
    return denied.value.status


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_each_token_has_its_name(tmp_path: Path) -> None:
    tokens = Tokens(str(write(tmp_path / "tokens", f"ward: {A}\narchive: {{token: {B}, rate: 5}}\n")))
    assert (shown(tokens, f"Bearer {A}"), shown(tokens, f"bearer  {B} ")) == ("ward", "archive")
    for wrong in (None, "", A, f"Basic {A}", "Bearer", f"Bearer {A[:-1]}", f"Bearer {A}a"):
        assert status(tokens, wrong) == 401
    assert status(tokens, None, "127.0.0.1") == 401


def test_the_environment_names_a_file_or_holds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{{ward: {A}}}")
    assert shown(Tokens(), f"Bearer {A}") == "ward"
    monkeypatch.setenv(FILE_VARIABLE, str(write(tmp_path / "tokens", f"archive: {B}")))
    assert shown(Tokens(), f"Bearer {B}") == "archive"


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "127.8.9.1"])
def test_without_tokens_this_machine_is_answered(client: str, caplog: pytest.LogCaptureFixture) -> None:
    tokens = Tokens()
    assert "only clients on this machine" in caplog.text
    for host in (OWN, "127.0.0.1", "localhost", "LocalHost:65535", "[::1]", "[::1]:8000"):
        assert shown(tokens, None, client, host=host) == "local"
    for header in ("x-forwarded-for", "forwarded", "x-real-ip", "via"):
        assert status(tokens, None, client, **{"host": OWN, header: "127.0.0.1"}) == 401


@pytest.mark.parametrize(
    "host",
    ["rebound.example", "rebound.example:8000", "127.0.0.1.rebound.example", "localhost.rebound.example", "127.0.0.1:x", "::1", "", None],
)
def test_without_tokens_a_request_for_another_host_is_nobodys(host: str | None) -> None:
    assert status(Tokens(), None, "127.0.0.1", **({} if host is None else {"host": host})) == 401


def test_without_tokens_nobody_comes_through_the_documented_nginx() -> None:
    said = re.findall(r"proxy_set_header (\S+) (\S+);", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"))
    values = {"$host": "chest.example", "$remote_addr": "203.0.113.7"}
    headers = {name.lower(): values[value] for name, value in said}
    assert set(headers) == {"host", "x-forwarded-for"}
    # Each line alone suffices: where a site forgets Host, nginx sends the address that it passes requests on to.
    for left in (headers, {"host": headers["host"]}, {"host": OWN, "x-forwarded-for": headers["x-forwarded-for"]}):
        assert status(Tokens(), None, "127.0.0.1", **left) == 401


@pytest.mark.parametrize("client", ["10.0.0.1", "2001:db8::1", "testclient", None])
def test_without_tokens_nobody_else_is(client: str | None) -> None:
    assert status(Tokens(), None, client, host=OWN) == 401


def test_a_file_that_changes_counts_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", f"ward: {A}")
    tokens = Tokens(str(path))
    # As Kubernetes swaps a Secret: another file takes the name.
    write(tmp_path / "new", f"ward: {B}").replace(path)
    assert shown(tokens, f"Bearer {B}") == "ward" and status(tokens, f"Bearer {A}") == 401


@pytest.mark.parametrize("broken", ["", "ward: short", "- list", "a: [", None, f"ward: {A}\nother: {A}"])
def test_a_broken_file_changes_nothing(tmp_path: Path, broken: str | None, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "tokens", f"ward: {A}")
    tokens = Tokens(str(path))
    path.unlink()
    if broken is not None:
        write(path, broken)
    with caplog.at_level(logging.ERROR):
        assert shown(tokens, f"Bearer {A}") == shown(tokens, f"Bearer {A}") == "ward"
    assert caplog.text.count("tokens stay as they were") == 1 and A not in caplog.text


def test_a_rate_holds_over_a_change_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", f"ward: {{token: {A}, rate: 2}}")
    tokens = Tokens(str(path))
    shown(tokens, f"Bearer {A}")
    write(path, f"ward: {{token: {A}, rate: 2}}\narchive: {B}\n")
    shown(tokens, f"Bearer {A}")
    with pytest.raises(Denied) as denied:
        shown(tokens, f"Bearer {A}")
    assert denied.value.status == 429 and 1 <= (denied.value.retry_after_s or 0) <= 61
    assert shown(tokens, f"Bearer {B}") == "archive"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (f"ward: {A[:-1]}", "x: ward: token: a token is 16 or more"),
        ("ward: 12345678901234567890", "in quotes if it is a number"),
        (f"ward: {{token: {A}, rate: 0}}", "ward: rate"),
        (f"ward: {{token: {A}, name: x}}", "ward: name"),
        ("ward: two words that are long", "without spaces"),
        ("", "holds no tokens"),
        (f"one: {A}\ntwo: {A}", "the same token under two names"),
    ],
)
def test_what_is_no_file_of_tokens(text: str, finding: str) -> None:
    with pytest.raises(ValueError, match=finding) as error:
        parse_tokens(text, "x")
    assert A not in str(error.value) and "12345" not in str(error.value)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent: tokens can't be read"):
        Tokens(str(tmp_path / "absent"))
    assert os.environ.get(VARIABLE) is None
