"""Data sets: what lies on the disk, and the batches that are made of it."""
