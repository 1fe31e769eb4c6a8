"""Replace a file so that, whenever the process is killed or the disk is full, a whole file is there."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def replace(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write the parts as one file, which is on the disk on return. Until then the old file stays as it is.

    Missing folders are made. If the path is a link, the file that it leads to is replaced, and the link stays.
    """
    path = Path(os.path.realpath(path))
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name follows from that of the file, so that only the next save of this file removes what a crash has left
    own = f".saving-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}-"
    for leftover in path.parent.glob(own + "*"):
        with contextlib.suppress(OSError):
            leftover.unlink()
    temporary = path.with_name(own + secrets.token_hex(4))
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # The save has taken effect, so nothing is raised from here on; some file systems cannot flush a folder
    for folder in [path.parent, *(folder.parent for folder in missing)]:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
