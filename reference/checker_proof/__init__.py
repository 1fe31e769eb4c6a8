"""The checker's proof: random networks, hand-written passes with planted mistakes, and what is said of them."""
