"""Bad input for every reader of foreign files: what is refused, in how many words, with how much memory and time."""
