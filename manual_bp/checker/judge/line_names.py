"""The names of lines that a pass may return."""

import difflib


def unknown_name(line: str, known: list[str]) -> str:
    """Write what is wrong with the name of a line, and which names there are."""
    if line in known:
        return f"a line is named after what it is the derivative by; did you mean d{line}?"
    names = ["d" + name for name in known]
    close = [name for name in names if name.lower() == line.lower()] or difflib.get_close_matches(line, names, 1, 0.5)
    question = f"; did you mean {close[0]}?" if close else "."
    return f"no tap, parameter or argument has this name{question} The lines are: {', '.join(names)}"
