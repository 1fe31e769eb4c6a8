"""Training by hand-written steps, by autodiff, and by other libraries."""
