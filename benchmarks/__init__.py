"""Hand-written gradients timed against autodiff; `python -m benchmarks --help` says how."""
