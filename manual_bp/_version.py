"""The version, written down so that a checkout that is not installed has it too."""

__version__ = "0.1.0"
