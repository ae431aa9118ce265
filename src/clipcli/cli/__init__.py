"""The command line: a file for each command, its options, and what the shell is told."""
