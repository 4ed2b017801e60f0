"""Exported files, run by the runtime of their format."""
