"""The memory that manual and autodiff gradients need."""
