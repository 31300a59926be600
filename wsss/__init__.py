"""Weakly-supervised semantic segmentation: from image-level labels to pixel masks and a trained segmenter."""

__version__ = "0.1.0"
