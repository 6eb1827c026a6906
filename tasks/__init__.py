"""Prefect tasks: one per endpoint, plus files; and the plain functions between them."""
