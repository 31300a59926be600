"""Files and their formats: index, store, images, JSON, limits."""
