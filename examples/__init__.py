"""Short programs to run and read: what a backward pass written by hand offers beside the gradient.

python -m examples.private_digits       training with differential privacy, and its price
python -m examples.mislabelled_digits   wrong labels found by the norms of the examples' gradients
python -m examples.newton_cg            Newton steps by products with the Gauss-Newton matrix
"""
