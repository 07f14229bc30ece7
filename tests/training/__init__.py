"""Tests of `chestseg.training`."""
