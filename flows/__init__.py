"""What happens, in which order: one module per flow."""
