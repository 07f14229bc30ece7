"""Generated chests, free to ship: what the demo, the tests and the golden cases show."""
