"""Mixture models of a spectral library: every combination of its spectra, from a pixel's products with them."""
