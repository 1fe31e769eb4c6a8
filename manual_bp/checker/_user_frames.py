"""The part of a traceback that is the user's own code."""

import sys
from types import TracebackType

LIBRARIES = {"manual_bp", "pytest_manual_bp", "jax", "jaxlib", "numpy", *sys.stdlib_module_names}


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this library, of JAX, of NumPy and of Python's own modules."""
    frames = []
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] not in LIBRARIES:
            frames.append((trace.tb_frame, trace.tb_lasti, trace.tb_lineno))
        trace = trace.tb_next
    for frame in reversed(frames):
        trace = TracebackType(trace, *frame)
    return trace
