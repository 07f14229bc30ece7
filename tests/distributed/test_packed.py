"""A worker's loop passes through a process that imports nothing for it."""

import pickle
import subprocess
import sys
from typing import Any

from chestseg.distributed.packed import packed, run_packed


def loop(config: dict[str, Any]) -> dict[str, Any]:
    return {"answer": config["number"] + 1}


def test_the_loop_gets_what_it_was_told_and_its_answer_comes_back() -> None:
    assert run_packed(packed(loop, {"number": 1})) == {"answer": 2}


def test_who_hands_it_on_imports_neither_networks_nor_readers() -> None:
    handed = pickle.dumps((run_packed, packed(loop, {"number": 1})))
    program = f"import pickle, sys; pickle.loads({handed!r}); print(sorted({{'torch', 'ray', 'pydicom', {__name__!r}}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
