"""The mistake found in a line."""

from typing import NamedTuple

UNKNOWN = "unknown"


class Finding(NamedTuple):
    """The key of a mistake, and a sentence. It is not exact if the line is only a multiple of the mistaken one."""

    mistake: str
    diagnosis: str
    exact: bool = True
