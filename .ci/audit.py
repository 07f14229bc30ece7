"""Known vulnerabilities of pinned packages: `python .ci/audit.py constraints.txt`, in an environment that has pip-audit.

Exit code 0: all were looked up and none is known. 1: some are known. 2: the advisories could not be had, which is no good news: where an
index answers without them, pip-audit itself says that it found nothing.
"""

import json
import subprocess
import sys

SERVICES = ("pypi", "osv")
REMEDY = "run `make audit` where the Python index or OSV is reached, or give build/sbom.cdx.json (`make sbom`) to a scanner that has them"


def advisories(service: str, constraints: str) -> list[dict]:
    """What a service says of each package; empty where it can't be asked."""
    command = ["-r", constraints, "--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "10", "-s", service, "-f", "json"]
    done = subprocess.run([sys.executable, "-m", "pip_audit", *command], capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["dependencies"] if done.stdout.startswith("{") else []


def main(constraints: str) -> int:
    """Ask the first service that knows the packages."""
    for service in SERVICES:
        told = advisories(service, constraints)
        looked_up = [package for package in told if "vulns" in package]
        if looked_up:
            break
    else:
        print(f"not audited: neither {' nor '.join(SERVICES)} gave advisories: {REMEDY}")
        return 2
    hit = [(package, known) for package in looked_up for known in package["vulns"]]
    for package, known in hit:
        print(f"{package['name']} {package['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'no version yet'}")
    for package in told:
        if "vulns" not in package:
            print(f"{package['name']}: not looked up ({package['skip_reason']})")
    print(f"{len(looked_up)} of {len(told)} packages looked up, {len(hit)} known vulnerabilities")
    return 1 if hit else 0 if len(looked_up) == len(told) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
