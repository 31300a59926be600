"""Segment: networks trained from pseudo masks, and what they predict."""
