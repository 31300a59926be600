"""Records of what made each product, and their checks."""
