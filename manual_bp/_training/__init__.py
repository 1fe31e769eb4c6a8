"""Training: steps, epochs as one program each, and `fit`, which runs them."""
