"""What the record of a backward pass tells beside the gradient, each quantity a line of algebra over A and dZ."""
