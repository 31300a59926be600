"""Stages and maths of instances."""
