"""Benchmarks of the hand-written programs against autodiff; see `python -m benchmarks --help`."""
