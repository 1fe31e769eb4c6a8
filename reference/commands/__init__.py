"""What `python -m reference` does. Here, and only here, the oracles meet the library."""
