"""The resolution schedule executed in plain PyTorch: stages, the step, averaging, checkpoints."""
