"""Oracles that share no code with manual_bp: autodiff, scalar loops, central differences, the published equations."""
