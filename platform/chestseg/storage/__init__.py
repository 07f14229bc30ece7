"""Folders in buckets: objects by name, copies on this machine's disk, uploads beside the work."""
