"""Stages and maths from image-level labels to regions: classifier, score maps, regions, rounds; the seed methods."""
