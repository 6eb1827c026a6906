"""Changing cases, one by one or by jobs, and proving by their values that they changed."""
