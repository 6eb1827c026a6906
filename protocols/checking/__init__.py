"""What the vendor's documents leave open, asked of a real account; by reading, unless told."""
