"""Stages and maths from peaks, proposals and masks to instances."""
