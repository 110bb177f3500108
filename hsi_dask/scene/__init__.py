"""What is asked of the whole scene: a reduction of every tile, kept with the run, and combined in a fixed order."""
