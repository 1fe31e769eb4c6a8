"""Short programs to run and read: what a backward pass written by hand offers beside the gradient.

python -m manual_bp.examples.private_digits       training with differential privacy, and its price
python -m manual_bp.examples.mislabelled_digits   wrong labels found by the norms of the examples' gradients
python -m manual_bp.examples.newton_cg            Newton steps by products with the Gauss-Newton matrix
"""
