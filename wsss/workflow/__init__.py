"""What the rule files ask: paths, owners, digests, the run's lock."""
