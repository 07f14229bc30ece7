"""The house rules a machine can hold: layout, sizes, docstrings, and that the experiments shipped are good ones.

Which floor may import which is import-linter's to hold (`make check`).
"""

import ast
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from chestseg.config import load_experiment
from chestseg.config.ablation import load_ablation
from chestseg.config.external import load_external
from chestseg.config.sweep import load_sweep

ROOT = Path(__file__).parent.parent
TOP_LEVEL = {
    "pyproject.toml", "platform", "jobs", "serve_apps", "tests", "cluster.yaml",
    "README.md", "CHANGELOG.md", "Makefile", "LICENSE", "constraints.txt", "docs", "benchmarks", "deploy",
}  # fmt: skip
MODULES = sorted((ROOT / "platform").rglob("*.py"))
SCRIPTS = sorted((ROOT / "jobs").glob("*.py"))
CONFIGS = sorted((ROOT / "jobs" / "configs").glob("*.yaml"))
SWEEPS = [path for path in CONFIGS if "_tune" in path.stem]
ABLATIONS = [path for path in CONFIGS if "_ablation" in path.stem]
LISTS = [path for path in CONFIGS if "_external" in path.stem]
EXPERIMENTS = [path for path in CONFIGS if path not in SWEEPS + ABLATIONS + LISTS]
LONGEST_FILE = 300
LONGEST_BODY = 60
MODULE_NAMES_THAT_SAY_NOTHING = {"manager", "helper", "helpers", "util", "utils", "common", "base", "misc"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tracked(*patterns: str) -> list[str]:
    listing = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listing.stdout.split("\0") if name]


def test_platform_is_a_source_root_and_shadows_nothing():
    assert not (ROOT / "platform" / "__init__.py").exists()
    program = "import platform, uuid; platform.system(); print(platform.__file__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stdout.startswith(str(ROOT / "platform"))


def test_the_top_level_holds_what_people_expect():
    names = {name.split("/")[0] for name in tracked()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=name_of)
def test_a_file_says_what_it_is_and_is_short(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert text.count("\n") < LONGEST_FILE
    assert path.stem not in MODULE_NAMES_THAT_SAY_NOTHING


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short_and_nobody_imports_the_jobs(path):
    tree = ast.parse(path.read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in imported if name and name.split(".")[0] in ("jobs", "serve_apps")]
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert not [f.name for f in functions if (f.end_lineno or 0) - f.body[0].lineno >= LONGEST_BODY]


def starts_with_its_command(path, job):
    header = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return any(f"python jobs/{job}.py {name_of(path)}" in line for line in header)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_an_experiment_is_good_and_starts_with_its_command(path):
    assert starts_with_its_command(path, "train")
    assert load_experiment(path).name


@pytest.mark.parametrize("path", SWEEPS, ids=name_of)
def test_a_sweep_is_good_and_starts_with_its_command(path):
    assert starts_with_its_command(path, "tune")
    assert load_sweep(path).name


@pytest.mark.parametrize("path", ABLATIONS, ids=name_of)
def test_an_ablation_is_good_and_starts_with_its_command(path):
    assert starts_with_its_command(path, "ablate")
    assert load_ablation(path).name


@pytest.mark.parametrize("path", LISTS, ids=name_of)
def test_a_list_of_datasets_is_good_and_starts_with_its_command(path):
    assert starts_with_its_command(path, "external")
    assert load_external(path).name


def test_there_are_experiments_and_sweeps():
    assert EXPERIMENTS and SWEEPS


def test_no_list_of_packages_names_an_index_or_this_machine():
    text = (ROOT / "constraints.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    assert not [word for word in ("://", "file:", "--index", "--find-links", "--hash", " @ ") if word in text]
