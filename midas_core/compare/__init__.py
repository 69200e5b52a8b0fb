"""One harness for every comparison: which method helps on which data."""
