"""The state of a run: files in its directory, locked by one writer, verified by checksum."""
