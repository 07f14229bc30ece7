"""Two or more ways side by side: measured in turn within one run, several times, told as medians, spreads and ratios."""

import statistics
from collections.abc import Callable, Mapping


def in_turn(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call every side once a round, A B C A B C …, so that a machine that slows down slows all of them; returns their figures."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, measure in sides.items():
            figures[name].append(measure())
            print(f"  {name}: {figures[name][-1]:.4g}", flush=True)
    return figures


def table(figures: Mapping[str, list[float]], unit: str, reference: str) -> str:
    """A Markdown table: median, least and greatest of each side, and its ratio to `reference` round by round."""
    lines = [f"| | {unit}: median (least to greatest) | ratio to {reference}: median (least to greatest) |", "| --- | --- | --- |"]
    for name, values in figures.items():
        ratios = [value / other for value, other in zip(values, figures[reference], strict=True)]
        lines.append(f"| {name} | {_spread(values)} | {_spread(ratios)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
