"""Keeping appointments in step with a file, none made twice and nobody written to twice."""
