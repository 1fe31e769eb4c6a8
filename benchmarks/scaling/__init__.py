"""How the time of a gradient grows with batch size, width and depth."""
