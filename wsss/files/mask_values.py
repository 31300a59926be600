"""The values of a mask that are no class (no torch)."""

from __future__ import annotations

IGNORE = 255
"""Mask value of pixels that take no part in training and evaluation."""
MOST_NUMBERED = IGNORE - 1
"""Most instances that one instance mask (uint8) can number."""
MOST_CLASSES = IGNORE - 1
"""Most classes: their ids are 1..254, because a mask (uint8) has 0 for the background and 255 for IGNORE."""
