"""Seeds: classifier, scores, regions, rounds."""
