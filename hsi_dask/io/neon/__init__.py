"""NEON AOP reflectance files, HDF5: metadata, quality layers, lazy cubes."""
