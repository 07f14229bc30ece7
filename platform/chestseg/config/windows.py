"""How windows of weight averaging are compared after a training, in the tail of its last stage."""

from pydantic import Field

from chestseg.config.strict import Strict


class Windows(Strict):
    """A tail of epochs at a constant learning rate, and how many windows of it are scored at what expense."""

    tail: int = Field(default=12, ge=2)
    """Last epochs of the last stage that are trained at a constant rate (`swa.tail`), whose weights are all kept; 6 give room for 24
    windows."""
    candidates: int = Field(default=24, ge=24)
    """Windows scored at least, where the tail has as many."""
    share: float = Field(default=0.1, gt=0, le=1)
    """Of the trial's own compute, what scoring may cost."""
    batch_norm_batches: int = Field(default=16, ge=1)
    """Micro-batches over which batch-norm statistics are re-estimated for a window's score; fewer where the share asks for it."""
