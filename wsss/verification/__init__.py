"""`wsss verify`: a run's files against the records of what made them."""
