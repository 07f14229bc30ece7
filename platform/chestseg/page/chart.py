"""Charts of reports as SVG, in one style.

Colours are Okabe and Ito's, which colour-blind people tell apart; what they say, a marker or a line's style says too.
"""

import io
from collections.abc import Callable
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREEN, GREY = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#8c8c8c"
STYLE: dict[Any, Any] = {
    "font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True,
    "legend.frameon": False, "svg.hashsalt": "chestseg", "axes.titlesize": 11,
}  # fmt: skip
WIDTH = 6.5
"""Inches, at which the text is still read on a phone."""


def picture(draw: Callable[[Figure], None], width: float, height: float) -> bytes:
    """An SVG without background, `width` x `height` inches; the same drawing gives the same bytes."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()
