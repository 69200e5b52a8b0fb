"""Readers of the paper's data sets: how a folder lists samples, how a file becomes an array, who tests."""
