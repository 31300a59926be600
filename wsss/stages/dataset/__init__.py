"""Stages and maths of dataset."""
