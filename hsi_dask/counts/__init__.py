"""How many materials a scene has: an estimator is one file, from the statistics of the scene alone."""
