"""Many tiles, one run directory: plan, state, execution, verification."""
