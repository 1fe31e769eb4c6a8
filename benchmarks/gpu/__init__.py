"""Everything that is to be measured on a GPU, in steps that fit into ten minutes."""
