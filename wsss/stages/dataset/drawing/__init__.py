"""The embedded scenes: how they are laid out and painted."""
