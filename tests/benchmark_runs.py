"""What the tests of all suites of benchmarks do with the command line and with results files."""

from benchmarks import environment, records
from benchmarks.__main__ import main


def made_row(suite, programs, error=None, **fields):
    """A row as a run writes it."""
    found = {
        "schema": records.SCHEMA,
        "suite": suite,
        "date": "2026-01-02T03:04:05+00:00",
        "environment": environment.describe("float32") | {"device": "a device"},
        "matmul_flops_per_s": 1e11,
        "network": "7-5-3",
        "sizes": [7, 5, 3],
        "batch_size": 4,
        "errors": {"manual": {"dW[1]": 1e-7}},
        "error": error,
        "programs": {} if error else programs,
    }
    assert fields.keys() <= set(records.FIELDS[suite])
    return {field: (found | fields)[field] for field in records.FIELDS[suite]}


def write(path, *rows):
    for row in rows:
        records.append(path, row)
    return path


def refused(capsys, *argv):
    """The line with which a request is refused, exit status 2."""
    try:
        status = main(argv)
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1), err
    return err
