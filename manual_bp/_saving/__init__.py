"""A model as a directory: written whole or not at all, read without running code."""
