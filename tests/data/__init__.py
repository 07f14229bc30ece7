"""Tests of `chestseg.data`."""
