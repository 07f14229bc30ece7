"""The way to a DICOMweb server: its address, who asks, and how patiently."""

import os
from urllib.parse import urlsplit

from dicomweb_client import DICOMwebClient
from requests import PreparedRequest, Session
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_netrc_auth
from urllib3.util import Retry

TOKEN, USER, PASSWORD = "CHESTSEG_DICOMWEB_TOKEN", "CHESTSEG_DICOMWEB_USER", "CHESTSEG_DICOMWEB_PASSWORD"
"""Environment variables. Without them the entry of the server in ~/.netrc, or the file that NETRC names, is taken."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SECONDS = (10, 300)
"""To connect; between two pieces of an answer, which for a long series may take a server a while to put together."""
AGAIN = Retry(
    total=3, connect=0, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504), allowed_methods=("GET",), raise_on_status=False
)
"""Questions are asked again. What is stored is not: a client does not know what an unanswered request has done; the next look does."""


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def connect(url: str) -> DICOMwebClient:
    """A client of the server at `url`; nothing is sent yet.

    Certificates are verified, by the authorities in the file that REQUESTS_CA_BUNDLE names or else the usual ones.

    Raises:
        ValueError: not the address of a server, one that holds a password, or credentials that would travel in clear.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError(f"--server: every user of the machine sees a password in the address: set {USER} and {PASSWORD}, or use ~/.netrc")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"--server {url}: give the address of its DICOMweb services, such as https://archive.example/dicom-web")
    session = Session()
    session.auth = _credentials(url)
    if session.auth and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError(f"--server {url}: credentials would travel in clear: use https://, or an address of this machine")
    session.mount("https://", HTTPAdapter(max_retries=AGAIN))
    session.mount("http://", HTTPAdapter(max_retries=AGAIN))
    client = DICOMwebClient(url.rstrip("/"), session=session, timeout=SECONDS)
    # Its own way of asking again would send a long body a second time from where the first ended.
    client.set_http_retry_params(retry=False)
    return client


def _credentials(url: str) -> AuthBase | None:
    token, user, password = (os.environ.get(name) for name in (TOKEN, USER, PASSWORD))
    if token and user:
        raise ValueError(f"{TOKEN} and {USER} are both set: set one of them")
    if token:
        return _Bearer(token)
    if user:
        return HTTPBasicAuth(user, password or "")
    found = get_netrc_auth(url)
    return HTTPBasicAuth(*found) if found else None
