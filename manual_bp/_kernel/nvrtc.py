"""CUDA C++ to PTX inside of the process, by the NVRTC that `jax[cuda13]` installs. It needs no GPU and no compiler."""

import ctypes
import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path


def compile_text(
    text: str, headers: Mapping[str, str], options: Sequence[str], result: str = "PTX"
) -> tuple[bytes, str]:
    """Compile CUDA C++.

    Args:
        text: the program.
        headers: the text of each file that it includes.
        options: those of NVRTC.
        result: "PTX", or "CUBIN" for an architecture sm_*.

    Returns:
        The result and the compiler's log.

    Raises:
        ImportError: NVRTC is not installed.
        RuntimeError: the text does not compile; with the compiler's log.
    """
    library, program = _library(), ctypes.c_void_p()

    def fetched(what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw

    names = _strings(headers)
    texts = _strings(headers.values())
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"fused.cu", len(headers), texts, names)
    try:
        failed = library.nvrtcCompileProgram(program, len(options), _strings(options))
        log = fetched("ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise RuntimeError(f"NVRTC does not compile the kernel with the options {' '.join(options)}:\n{log}")
        return fetched(result), log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _strings(strings) -> ctypes.Array:
    encoded = [string.encode() for string in strings]
    return (ctypes.c_char_p * len(encoded))(*encoded)


@functools.cache
def _library() -> ctypes.CDLL:
    for package in ("nvidia.cu13", "nvidia.cuda_nvrtc"):
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # there is no nvidia at all
            continue
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder, "lib").glob("libnvrtc.so.*")):
                # NVRTC looks for its companion by name; loaded already, it is found
                for builtins in Path(folder, "lib").glob("libnvrtc-builtins.so.*"):
                    ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
                return ctypes.CDLL(str(path))
    try:
        return ctypes.CDLL("libnvrtc.so.13")
    except OSError:
        raise ImportError("kernel='fused' needs NVRTC, which compiles it: pip install 'manual_bp[cuda13]'") from None
