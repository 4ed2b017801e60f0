"""Weights turned into files for other runtimes, and checked."""
