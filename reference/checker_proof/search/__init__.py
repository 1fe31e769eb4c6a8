"""A random search for wrong backward passes that the checker calls right, and for right ones that it calls wrong."""
