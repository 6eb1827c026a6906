"""The lock of an account, and what is known of it between runs."""
