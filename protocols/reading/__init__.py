"""Reading an account: sweeps and their verification, look-ups, the latest export."""
