"""Manual gradients against their limits: their matrix products alone, and their memory traffic."""
