"""Downloads from NEON: what its data API offers of a site and year, and its files, resumed and verified."""
