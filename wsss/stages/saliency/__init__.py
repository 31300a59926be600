"""Stages and maths of saliency."""
