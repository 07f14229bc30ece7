"""What Ray, Ray Serve and MLflow listen on beyond loopback, and what they answer there without a token; sent to nodes by value."""

import http.client
import json
import urllib.error
import urllib.request
from ipaddress import ip_address
from typing import Any

ANSWERS_WITHIN = 3.0
"""Seconds."""
PROGRAMS = {
    "MLflow": ("mlflow",),
    "Ray Serve": ("ray::ProxyActor", "ray::HTTPProxyActor"),
    "Ray's dashboard": ("dashboard/dashboard.py", "ray-dashboard"),
    "Ray's metrics": ("dashboard/agent.py", "ray::DashboardAgent"),
    "Ray": ("ray::", "raylet", "gcs_server", "ray/_private", "ray.util.client.server"),
}
"""Words in the command lines of each, in the order they are looked for."""
ASKED = {
    "MLflow": "/api/2.0/mlflow/experiments/search?max_results=1",
    "Ray Serve": "/-/routes",
    "Ray's dashboard": "/api/version",
    "Ray's metrics": "/metrics",
}
"""What of each is asked for; Ray's other ports speak gRPC."""


def listening() -> list[dict[str, Any]]:
    """Program, address, port and, of what speaks HTTP, the code it answers without a token (None: no HTTP answer).

    Only processes whose command line this user may read are seen. Of Ray Serve the most open of its routes counts.
    """
    import psutil

    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for connection in psutil.net_connections("inet"):
        own: Any = connection.laddr
        if connection.status != psutil.CONN_LISTEN or connection.pid is None or is_loopback(own.ip):
            continue
        try:
            program = program_of(" ".join(psutil.Process(connection.pid).cmdline()))
        except psutil.Error:
            continue
        if program:
            found[program, own.ip, own.port] = {"program": program, "address": own.ip, "port": own.port}
    return [listener | {"answers": answer(listener)} for listener in found.values()]


def program_of(command: str) -> str | None:
    """Which of `PROGRAMS` a command line is of."""
    return next((program for program, words in PROGRAMS.items() if any(word in command for word in words)), None)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a listener at the address."""
    ip = ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def answer(listener: dict[str, Any]) -> int | None:
    """The code that a listener answers without a token; None where it speaks no HTTP."""
    if listener["program"] not in ASKED:
        return None
    ip = ip_address(listener["address"])
    host = "127.0.0.1" if ip.is_unspecified else f"[{ip}]" if ip.version == 6 else str(ip)
    server = f"http://{host}:{listener['port']}"
    code, body = _get(server + ASKED[listener["program"]])
    if listener["program"] != "Ray Serve" or code != 200:
        return code
    return min((code for route in json.loads(body) if (code := _get(server + route)[0])), default=404)


def _get(url: str) -> tuple[int | None, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=ANSWERS_WITHIN) as answer:
            return answer.status, answer.read(100_000)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return refusal.code, b""
    except (OSError, ValueError, http.client.HTTPException):  # not HTTP
        return None, b""
