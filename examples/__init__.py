"""Scripts to read and run, as `python -m examples.NAME` or `python examples/NAME.py`.

private_digits       train with differential privacy, and see what it costs
mislabelled_digits   find wrong labels by the norms of per-example gradients
newton_cg            take Newton steps by products with the Gauss-Newton matrix
train_table          train on a table with text columns and gaps, and save the pipeline
"""
