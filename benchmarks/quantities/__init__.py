"""Manual quantities against autodiff: what a backward pass gives in addition to the gradient."""
