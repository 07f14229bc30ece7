"""A worker's loop on its way through the controller of Ray Train, which only hands it on.

What a process unpickles it imports. Packed, networks and readers are imported where they are used, and a training starts seconds earlier.
"""

import pickle
from collections.abc import Callable
from typing import Any

Loop = Callable[[dict[str, Any]], Any]
"""One worker's whole life, by what it is told; a function of a module."""


def packed(loop: Loop, config: dict[str, Any]) -> dict[str, bytes]:
    """The loop and what it is told, as the configuration of `run_packed`."""
    return {"packed": pickle.dumps((loop, config))}


def run_packed(config: dict[str, bytes]) -> Any:
    """Run the loop that `packed` packed; what it answers."""
    loop, told = pickle.loads(config["packed"])
    return loop(told)
