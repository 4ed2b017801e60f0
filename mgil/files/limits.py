"""Limits on what files may ask for, so that a hostile number takes no memory."""

from __future__ import annotations

MOST_SIDE = 1 << 14  # pixels, and images in a batch
