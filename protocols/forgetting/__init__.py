"""Removing what our files hold of one case: exports, outcomes of runs, the journal."""
