"""The pytest plugin: fixtures that check gradients, and `--gradient-report DIR`, their reports as HTML pages.

pytest imports it at every start, so it stands beside the package: importing that would import JAX.
"""

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# The reports that a test has made, as HTML
MADE = pytest.StashKey[list[str]]()
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.1rem; overflow-wrap: anywhere }}
pre {{ overflow-x: auto }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


@pytest.fixture
def assert_gradients_match(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Fail with the report of `manual_bp.check_gradients(cost, backward, params, *args)`, unless it is right."""
    from manual_bp import check_gradients

    return _assertion(check_gradients, request)


@pytest.fixture
def assert_custom_vjp(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Fail with the report of `manual_bp.check_custom_vjp(f, *args)`, unless it is right."""
    from manual_bp import check_custom_vjp

    return _assertion(check_custom_vjp, request)


def _assertion(check: Callable, request: pytest.FixtureRequest) -> Callable[..., None]:
    from manual_bp.checker._assertions import assert_right
    from manual_bp.checker._user_frames import user_frames

    def assertion(*args: Any, **options: Any) -> None:
        __tracebackhide__ = True
        try:
            report = check(*args, **options)
        except Exception as error:
            if not request.config.getoption("fulltrace"):
                error.__traceback__ = user_frames(error.__traceback__)
            raise error
        if request.config.getoption("gradient_report"):
            request.node.stash.setdefault(MADE, []).append(report._repr_html_())
        assert_right(report)

    return assertion


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("manual_bp").addoption(
        "--gradient-report", metavar="DIR", help="write each report of the gradient checker as a page of HTML"
    )


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("gradient_report")
    if folder and not hasattr(config, "workerinput"):  # the workers of pytest-xdist send theirs
        config.pluginmanager.register(Pages(config.invocation_params.dir / folder))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = (yield).get_result()
    if made := item.stash.get(MADE, []):
        report.gradient_reports = [*made]
        made.clear()


class Pages:
    """The folder of --gradient-report: a page for each report, named after its test, and an index of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.found = folder, list[tuple[str, str]]()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"--gradient-report expects a folder to write pages to; {error}") from None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.found += [(report.nodeid, text) for text in getattr(report, "gradient_reports", [])]

    def pytest_sessionfinish(self) -> None:
        files, rows = set[str](), []
        for test, text in sorted(self.found, key=lambda entry: entry[0]):
            file = base = re.sub(r"[^\w.]+", "-", test, flags=re.ASCII).strip("-")[:150]
            number = 1
            while file.lower() in files:
                number += 1
                file = f"{base}-{number}"
            files.add(file.lower())
            self._write(file, test, f'{text}\n<p><a href="index.html">all reports</a></p>')
            headline = text.partition("\n")[0]
            rows.append(f'<dt><a href="{file}.html">{html.escape(test)}</a></dt><dd>{headline}</dd>')
        none = "<p>No test has used assert_gradients_match or assert_custom_vjp.</p>"
        self._write("index", "Gradient reports", "\n".join(["<dl>", *rows, "</dl>"]) if rows else none)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        count = "1 report" if len(self.found) == 1 else f"{len(self.found)} reports"
        terminalreporter.write_line(f"{count} of gradients: {self.folder / 'index.html'}")

    def _write(self, file: str, title: str, body: str) -> None:
        page = PAGE.format(title=html.escape(title), body=body)
        (self.folder / f"{file}.html").write_text(page, encoding="utf-8")
