"""What is derived from the maps of a run: coarser levels, a quicklook and exact statistics."""
