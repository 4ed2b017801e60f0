"""Weights files, written whole and read without running code."""
