"""Saved files read as data, without running them."""
