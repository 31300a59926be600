"""The drawn images and the segmenter of tests/segment."""

from tests.segment.conftest import drawn, segmenter

__all__ = ["drawn", "segmenter"]
