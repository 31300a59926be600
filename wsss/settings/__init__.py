"""Typed settings: sections, loading, what each stage is given."""
