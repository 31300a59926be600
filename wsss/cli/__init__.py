"""The command line: stage commands, and the commands people use by hand."""
