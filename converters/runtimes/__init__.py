"""Saved files run on this host, each in a child process."""
