"""Reports written as JSON and read back."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from some_reports import INF, LINES, NAN, report, table

from manual_bp.checker._report import Report
from manual_bp.checker._report_line import Line


def forbidden(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("cost", [0.25, INF, -INF, NAN])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_round_trip(cost, indent):
    found = Report(LINES, ("One.", "Two."), ("∂ is a note.",), "float32", cost, "finite differences")
    text = found.to_json(indent)
    parsed = json.loads(text, parse_constant=forbidden)
    assert parsed == found.to_dict()
    assert parsed["verdict"] == "wrong"
    assert (parsed["lines"][-1]["global_error"], parsed["lines"][-1]["local_error"]) == ("inf", "nan")
    assert parsed["lines"][4]["global_error"] is None
    assert ("\n" in text) == (indent is not None)

    back = Report.from_json(text)
    assert back == found and hash(back) == hash(found)
    assert back.lines[:-1] == found.lines[:-1] and isinstance(back["dZ2"], Line)
    assert back["dA0"].global_error == INF and back["dA0"].local_error is not None
    assert math.isnan(back["dA0"].local_error)
    assert isinstance(back.cost, float) and str(back) == str(found)


def test_json_of_array_scalars():
    """Errors and the cost may be scalars of JAX or NumPy."""
    error: object = jnp.float32(0.5)
    found = Report((Line("dZ1", "right", error, np.float32("inf")),), (), (), "float32", jnp.float32(0.25))  # pyright: ignore[reportArgumentType]
    parsed = json.loads(found.to_json(), parse_constant=forbidden)
    assert (parsed["lines"][0]["global_error"], parsed["lines"][0]["local_error"], parsed["cost"]) == (0.5, "inf", 0.25)
    assert table(str(found))[1].split() == ["dZ1", "right", "5.0e-01", "inf"]


@pytest.mark.parametrize("field", Line._fields)
def test_every_field_of_a_line_survives(field):
    changes: dict[str, object] = {name: f"another {name}" for name in Line._fields}
    changes |= {"verdict": "wrong", "global_error": 0.5, "local_error": 0.25, "returned": False}
    line = Line("dZ1", "right", INF, INF)._replace(**{field: changes[field]})
    assert Report.from_json(report(line).to_json()).lines == (line,)
    assert report(line) != report(Line("dZ1", "right", INF, INF))
