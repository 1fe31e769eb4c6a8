"""Second derivatives of the cost and their Gauss-Newton part: products with vectors, diagonals, Kronecker factors."""
