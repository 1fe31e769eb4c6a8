"""A plugin: `--programs` lists the programs that XLA compiled, and the seconds of CPU it all took, by test file."""

import collections
import time

import jax
import numpy as np
import pytest

PROPERTY = "compiled programs"  # (programs, seconds of compiling, seconds of CPU) of a phase of a test
taken = [0, 0.0, 0.0]


def _compiled(event: str, duration_secs: float, **_) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        taken[0] += 1
        taken[1] += duration_secs


jax.monitoring.register_event_duration_secs_listener(_compiled)


def pytest_addoption(parser):
    parser.addoption("--programs", action="store_true", help="list the programs compiled, by test file")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    # A report carries its properties to the process that prints them
    report = yield
    now = time.process_time()
    report.user_properties.append((PROPERTY, (taken[0], taken[1], now - taken[2])))
    taken[:] = 0, 0.0, now
    return report


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("programs"):
        return
    files = collections.defaultdict(lambda: np.zeros(3))
    for report in (r for reports in terminalreporter.stats.values() for r in reports):
        for found in (value for name, value in getattr(report, "user_properties", ()) if name == PROPERTY):
            file = report.nodeid.partition("::")[0]
            files[file] += found
    files["all files"] = np.sum(list(files.values()), axis=0)
    terminalreporter.section("programs that XLA compiled, seconds of that, seconds of CPU")
    for file, (programs, compiling, cpu) in sorted(files.items(), key=lambda entry: -entry[1][2]):
        terminalreporter.write_line(f"{programs:6,.0f} {compiling:7.1f} s {cpu:7.1f} s  {file}")
