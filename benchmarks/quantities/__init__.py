"""What a backward pass gives beside the gradient, by hand and by autodiff."""
