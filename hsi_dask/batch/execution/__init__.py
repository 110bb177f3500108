"""The execution of a run: jobs for tiles, where they are computed, and what becomes of them."""
