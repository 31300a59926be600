"""Console, memory, signals and processes: nothing here changes a result."""
