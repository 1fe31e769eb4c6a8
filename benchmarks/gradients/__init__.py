"""Manual against autodiff gradients across batch sizes."""
