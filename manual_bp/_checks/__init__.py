"""Checks of what users pass: arrays, functions, options and the values that examples hold."""
