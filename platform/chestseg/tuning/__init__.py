"""Sweeps: what is searched, in which order, what goes on and what stops. No Ray here; the only code that imports Optuna."""
