"""Endpoints on Ray Serve: HTTP in front, models behind."""
