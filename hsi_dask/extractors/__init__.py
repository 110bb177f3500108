"""Where endmembers come from: an extractor is one file, its specification around a kernel."""
