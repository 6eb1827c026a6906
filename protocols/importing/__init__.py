"""Creating the cases of a file, each exactly once in effect."""
