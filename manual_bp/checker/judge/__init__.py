"""The verdict on each line of a backward pass: right, wrong, inherited or cannot tell."""
