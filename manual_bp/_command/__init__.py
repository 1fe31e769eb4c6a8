"""The command `python -m manual_bp`."""
