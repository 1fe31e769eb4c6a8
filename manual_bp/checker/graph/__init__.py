"""The cost as a graph: its arguments, its intermediates, and which of them feeds which."""
