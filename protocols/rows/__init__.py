"""Rows of a file on their way: entries and outcomes, sending them, a run's files, being stopped."""
