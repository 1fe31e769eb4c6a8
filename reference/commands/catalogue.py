"""Write the reports on the page of mistakes, docs/mistakes.md, by running the code above them."""

import contextlib
import io
import linecache
import re
from pathlib import Path

from reference.checker_proof.known_mistakes import known_mistakes

PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n.*?^```\n)?", re.S | re.M)


def run() -> int:
    """Write the page, and return the number of mistakes that it does not show."""
    text = with_reports(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
    missing, known = not_shown(text), known_mistakes()
    for key in missing:
        print(f"docs/mistakes.md does not show {key!r}: add a heading `### {key}` and code whose report names it")
    print(f"{len(known) - len(missing)} of {len(known)} mistakes are in docs/mistakes.md")
    return len(missing)


def with_reports(text: str) -> str:
    """Return the page with what its code prints below each block.

    The blocks of a group of mistakes run in one namespace, after those above the first group.
    """
    shared, *groups = re.split(r"^(?=## )", text, flags=re.M)
    written = [_with_reports(shared, {})]
    for group in groups:
        namespace = {}
        _with_reports(shared, namespace)
        written.append(_with_reports(group, namespace))
    return "".join(written)


def _with_reports(text: str, namespace: dict) -> str:
    def with_report(block: re.Match) -> str:
        linecache.cache[PAGE.name] = len(block[1]), None, block[1].splitlines(True), PAGE.name  # reports quote it
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block[1], PAGE.name, "exec"), namespace)
        report = f"\n```text\n{printed.getvalue()}```\n" if printed.getvalue() else ""
        return f"```python\n{block[1]}```\n{report}"

    return BLOCK.sub(with_report, text)


def entries(text: str) -> dict[str, str]:
    """Return the text below the heading of each mistake."""
    _, *parts = re.split(r"^### (.+)\n", text, flags=re.M)
    return {key: re.split(r"^## ", body, flags=re.M)[0] for key, body in zip(parts[::2], parts[1::2], strict=True)}


def not_shown(text: str) -> list[str]:
    """Return the mistakes without an entry on the page whose report names them."""
    found = entries(text)
    return sorted(key for key in known_mistakes() if not re.search(rf"\({re.escape(key)}[;)]", found.get(key, "")))
