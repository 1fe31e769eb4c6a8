"""Training: steps, epochs as one program, and `fit`, which runs them."""
