"""Plain functions on numpy arrays: run-length codes, resizing, overlays. No torch, no files."""
