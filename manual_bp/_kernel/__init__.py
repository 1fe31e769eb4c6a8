"""The cost and its gradient in one kernel of a GPU. It has been compiled and emulated, and has never run on a GPU."""
