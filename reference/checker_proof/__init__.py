"""The proof of the gradient checker: planted mistakes, published equations, and what the checker reports on them."""
