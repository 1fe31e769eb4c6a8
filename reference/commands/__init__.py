"""The commands of `python -m reference`, the only place where the oracles meet the library."""
