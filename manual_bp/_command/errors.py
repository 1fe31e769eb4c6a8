"""How a run can fail. The message is the one line a user sees."""

import errno

# No room is left: on the disk, in a quota, in what a file may take
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InputError(Exception):
    """Something that was given can't be used: exit status 2."""


class Failure(Exception):
    """The run can't go on, for a reason other than its input: exit status 1."""


def cannot_write(path: str, error: OSError) -> Exception:
    """What went wrong with a file or directory to be written."""
    kind = Failure if error.errno in FULL else InputError
    return kind(f"{path} can't be written: {(error.strerror or str(error)).lower()}")
