"""Ctrl-C that waits for the end of an epoch."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def once() -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C was pressed. Pressed again, it raises KeyboardInterrupt as ever.

    What is raised in the middle of an epoch can land in a callback of JAX, which prints it and goes on.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            signal.default_int_handler(number, frame)
        pressed = True
        # print() may be what was interrupted
        os.write(2, b"manual_bp: stopping after this epoch, at once if Ctrl-C is pressed again\n")

    # A job in the background ignores Ctrl-C, and only the main thread is asked
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
