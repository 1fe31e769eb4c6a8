"""What the tests of all suites of benchmarks do with the command line and with results files."""

from benchmarks import records
from benchmarks.__main__ import main


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
