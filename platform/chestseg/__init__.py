"""chestseg: train, tune, register and serve chest-imaging segmenters on Ray."""

__version__ = "0.1.0"
