"""The input of a run: tiles found, laid out on one grid, masked, and planned."""
