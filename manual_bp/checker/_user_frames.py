"""The part of a traceback that is the user's own code."""

import sys
from types import TracebackType

LIBRARIES = {"manual_bp", "pytest_manual_bp", "jax", "jaxlib", "numpy", *sys.stdlib_module_names}


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this library, of JAX, of NumPy and of Python's own modules."""
    if trace is None:
        return None
    rest = user_frames(trace.tb_next)
    module = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
    return rest if module in LIBRARIES else TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
