"""`chestseg dashboards`: MLflow's, Optuna's and Ray's pages of a sweep, served on this machine until Ctrl-C."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from chestseg.cli.leaving import leaving_at_sigterm
from chestseg.config.sweep import Sweep, load_sweep
from chestseg.distributed.dashboards import mlflow_dashboard, optuna_dashboard, ray_dashboard
from chestseg.distributed.local_server import Dashboard, answers, wait_until_up
from chestseg.distributed.shown_sweep import ShownSweep, shown_sweep
from chestseg.tracking.sweep_runs import is_sweep, load_sweep_runs

LOOKED_AT_EVERY = 2.0
"""Seconds."""


def run(config_path: str, overrides: Sequence[str] = (), mlflow_port: int | None = None, optuna_port: int | None = None) -> int:
    """Serve until Ctrl-C or a signal to end, and leave no process behind.

    Args:
        config_path: the sweep's YAML.
        overrides: `key=value` pairs on top of it.
        mlflow_port: of MLflow's server; 5000 or a free one when None.
        optuna_port: of Optuna's server; 8080 or a free one when None.

    A sweep in a bucket is shown from a copy of what its driver says there, half a minute behind.

    Raises:
        ValueError: the sweep was never started, its bucket is away, a port is taken, or a server does not start or ends.
        SystemExit: a signal to end, code 143.
    """
    sweep = load_sweep(config_path, overrides)
    with leaving_at_sigterm(), shown_sweep(sweep) as shown, contextlib.ExitStack() as stack:
        if not is_sweep(Path(shown.sweep.folder)):
            raise ValueError(
                f"{sweep.folder}: no sweep was started there: start it with `chestseg tune {config_path}`, or run where it was"
            )
        dashboards = [stack.enter_context(page) for page in _pages(shown.sweep, mlflow_port, optuna_port)]
        wait_until_up(dashboards)
        print(block(dashboards), flush=True)
        _watch(dashboards, shown)


def _watch(dashboards: Sequence[Dashboard], shown: ShownSweep) -> NoReturn:
    """Our servers must live; a cluster that was there before may go, and the other pages stay."""
    others = [dashboard for dashboard in dashboards if dashboard.process is None]
    while True:
        time.sleep(LOOKED_AT_EVERY)
        shown.keep_up()
        for dashboard in dashboards:
            dashboard.require_alive()
        for gone in [dashboard for dashboard in others if not answers(dashboard.url)]:
            print(f"{gone.name:<8}{gone.url} answers no more", flush=True)
            others.remove(gone)


def block(dashboards: Sequence[Dashboard]) -> str:
    """The addresses, a line each, what else a browser needs below."""
    lines = [f"{dashboard.name:<8}{dashboard.url}" + "".join(f"\n{'':<8}{hint}" for hint in dashboard.hints) for dashboard in dashboards]
    return "\n".join([*lines, "Ctrl-C ends them."])


def _pages(sweep: Sweep, mlflow_port: int | None, optuna_port: int | None) -> Iterator[contextlib.AbstractContextManager[Dashboard]]:
    runs = load_sweep_runs(Path(sweep.folder))
    yield mlflow_dashboard(runs.uri, mlflow_port, runs.page)
    yield optuna_dashboard(sweep.optuna, optuna_port)
    yield ray_dashboard(Path(sweep.folder))
