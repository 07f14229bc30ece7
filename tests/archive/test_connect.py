"""Who may ask, and how: no password in an address or in clear, certificates verified, credentials from the environment or netrc."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chestseg.archive.connect import PASSWORD, TOKEN, USER, connect
from chestseg.archive.server import Server, Unreachable
from tests.orthanc import Orthanc, orthanc


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (TOKEN, USER, PASSWORD, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="module")
def guarded(orthanc_folder: Path) -> Iterator[Orthanc]:
    folder = orthanc_folder / "guarded"
    folder.mkdir()
    with orthanc(folder, {"reader": "secret"}) as server:
        yield server


def ask(url: str) -> list[object]:
    return list(Server(connect(url)).studies("CR", None))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("archive.example/dicom-web", "give the address"),
        ("ftp://archive.example/dicom-web", "give the address"),
        ("https://archive.example/dicom-web?x=1", "give the address"),
        ("https://reader:hidden@archive.example/dicom-web", "every user of the machine sees a password"),
    ],
)
def test_addresses_that_are_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        connect(url)
    assert "hidden" not in str(refusal.value)


def test_no_credentials_in_clear(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connect("http://archive.example/dicom-web")
    (tmp_path / "netrc").write_text("machine archive.example login reader password secret\n")
    with pytest.raises(ValueError, match="in clear: use https"):
        connect("http://archive.example/dicom-web")
    monkeypatch.setenv(TOKEN, "secret")
    with pytest.raises(ValueError, match="in clear: use https") as refusal:
        connect("http://other.example/dicom-web")
    assert "secret" not in str(refusal.value)
    connect("https://archive.example/dicom-web")
    monkeypatch.setenv(USER, "reader")
    with pytest.raises(ValueError, match="are both set"):
        connect("https://archive.example/dicom-web")


def test_credentials_from_the_environment_or_netrc(guarded: Orthanc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=rf"refuses to answer \(401\): set {TOKEN}"):
        ask(guarded.url)
    monkeypatch.setenv(USER, "reader")
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(Unreachable, match="refuses to answer"):
        ask(guarded.url)
    monkeypatch.setenv(PASSWORD, "secret")
    assert ask(guarded.url) == []
    monkeypatch.delenv(USER)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login reader password secret\n")
    assert ask(guarded.url) == []


def test_a_token_is_sent_as_a_bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "abc")
    session = connect("https://archive.example")._session
    from requests import Request

    assert session.prepare_request(Request("GET", "https://archive.example/studies")).headers["Authorization"] == "Bearer abc"


def test_certificates_are_verified(archive: Orthanc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with archive.by_tls(context) as url:
        with pytest.raises(Unreachable, match="its certificate is not trusted .*REQUESTS_CA_BUNDLE") as refusal:
            ask(url)
        assert "\n" not in str(refusal.value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert ask(url) == []


def self_signed(folder: Path) -> Path:
    """Certificate and key of `localhost` in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - datetime.timedelta(1), now + datetime.timedelta(1))
    made = builder.add_extension(names, False).add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    path = folder / "localhost.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path
