"""Two runs on one grid with the same endmembers, and what changed between them."""
