"""Stages and maths from regions or scores to pseudo masks: seed masks, dense CRF, label filter."""
