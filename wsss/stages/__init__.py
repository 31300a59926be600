"""One folder a rule file, one module a stage."""
