"""How close the gradient comes to what its matrix products and its memory traffic allow."""
