"""Models and training states, one file each: written whole or not at all, read without running code."""
