"""A line of a report."""

from typing import Literal, NamedTuple

Verdict = Literal["right", "wrong", "inherited", "cannot tell"]


class Line(NamedTuple):
    """The verdict on one line of a backward pass.

    Attributes:
        line: the name of the line, such as "dZ2".
        verdict: "right", "wrong", "inherited" or "cannot tell". An inherited line is right given the lines upstream of
            it, one of which is wrong. If that one was not returned, the local error is large as well.
        global_error: the relative error, in norm, against the truth, which is usually autodiff.
        local_error: the relative error, in norm, against the line that follows from the user's own lines upstream.
        mistake: a key of the catalogue of mistakes, such as "missing g'", or None.
        diagnosis: a sentence, or "".
        suggestion: the corrected line of code, or "".
        returned: False for a line that the user did not return, inferred from the others.
    """

    line: str
    verdict: Verdict
    global_error: float | None = None
    local_error: float | None = None
    mistake: str | None = None
    diagnosis: str = ""
    suggestion: str = ""
    returned: bool = True
