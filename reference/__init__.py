"""The oracles, which share no code with manual_bp: autodiff, scalar loops, central differences."""
