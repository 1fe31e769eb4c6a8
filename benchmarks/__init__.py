"""What is written by hand timed against autodiff; `python -m benchmarks --help` says how."""
