"""Quantities that a backward pass gives in addition to the gradient, each a line of algebra over A and dZ."""
