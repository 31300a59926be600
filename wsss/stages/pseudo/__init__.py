"""Stages and maths of pseudo."""
