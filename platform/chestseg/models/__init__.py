"""Networks, each in a file of its own, found by name in `registry`."""
