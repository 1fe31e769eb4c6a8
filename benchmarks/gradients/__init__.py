"""Manual against autodiff gradients."""
