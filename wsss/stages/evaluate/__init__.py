"""Measuring against truth masks; no other folder reads them."""
