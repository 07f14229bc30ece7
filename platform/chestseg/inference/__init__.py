"""Image in, mask out: the one `Predictor` behind evaluation, batch prediction and serving, and what reads and writes for it."""
