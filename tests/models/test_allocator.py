"""Large blocks that a process frees are kept: taking them again costs no page faults."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chestseg.models.allocator import ENVIRONMENT
from tests.conftest import ROOT

FAULTS = """
import resource, sys
import torch
from chestseg.models.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for again in range(24):
    if again == 14:  # glibc 2.36 finds the room of aligned blocks only after some of them
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, env: dict[str, str]) -> int:
    found = subprocess.run([sys.executable, "-c", FAULTS, how], env=env, capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.slow
def test_memory_that_was_freed_is_taken_again_without_faults() -> None:
    pages = (64 << 20) // resource.getpagesize()
    env = {"PYTHONPATH": str(ROOT / "platform")}
    assert faults("as it is", env) > 9 * pages
    assert faults("kept", env) < 2 * pages
    assert faults("as it is", env | ENVIRONMENT) < 2 * pages


def test_submitted_jobs_are_told_the_same() -> None:
    told = yaml.safe_load(Path(ROOT / "jobs" / "runtime_env.yaml").read_text())["env_vars"]
    assert told.items() >= ENVIRONMENT.items()
