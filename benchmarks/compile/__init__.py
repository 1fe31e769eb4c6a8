"""Lowering and compiling the gradient, by hand and by autodiff, against depth."""
