"""The oracles against one another, and the command that runs the cross-check."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import BY_NAME, DEEP, REGRESSION, arrays, by_autodiff, columns, layers

from manual_bp import _equations
from reference import __main__ as command
from reference import autodiff, compare, loops
from reference.autodiff import Model
from reference.finite_differences import central_differences
from reference.grid import PROBLEMS, SEEDS, Problem, draw


@pytest.mark.parametrize("name", ["many neurons, squared error", "tanh absolute error", "softmax under squared error"])
def test_loops_against_central_differences(name):
    """Two oracles in NumPy, neither of which knows JAX."""
    problem = BY_NAME[name]
    data = draw(problem, 0)
    (W, b), *rest = data.params

    def cost(W):
        return loops.cost_and_gradient(problem.model, [(W, b), *rest], data.X, data.Y, data.weights)[0]

    _, grads, _ = loops.cost_and_gradient(problem.model, data.params, data.X, data.Y, data.weights)
    assert compare.largest_error(grads[0][0], central_differences(cost, W)) <= 1e-8


@pytest.mark.parametrize("problem", [DEEP, REGRESSION, BY_NAME["soft targets"]], ids=lambda p: p.name)
def test_examples_in_rows_or_in_columns(problem):
    _, params, X, Y, weights = arrays(problem)
    rows = jax.jit(jax.value_and_grad(functools.partial(autodiff.cost_of_rows, problem.model)))
    for w in (None, weights):
        found = rows(params, X.T, Y.T, w)
        assert compare.largest_error(found, by_autodiff(problem.model, params, X, Y, w)) <= 1e-12


def test_autodiff_against_loops():
    data = draw(DEEP, 1)
    C, grads, dX = loops.cost_and_gradient(DEEP.model, data.params, data.X, columns(DEEP, data), data.weights)
    args = [jnp.asarray(x) for x in (data.X, data.Y, data.weights)]
    c, (dparams, found_dX) = by_autodiff(DEEP.model, layers(data.params), *args, argnums=(0, 1))
    assert compare.largest_error((c, dparams, found_dX), (np.array(C), layers(grads), dX)) <= 1e-12


def test_grid_hides_no_transpose():
    for problem in PROBLEMS:
        sizes = [n for n in (*problem.model.sizes, problem.m) if n > 1]
        assert len(sizes) == len(set(sizes)), problem.name
    assert 2 * len(PROBLEMS) * len(SEEDS) >= 200


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ({"W": [1.0, 2.0], "b": [1.0]}, 0.0),
        ({"W": [1.0, 2.002], "b": [1.0]}, 0.002 / 5**0.5),
        ({"W": [1.0, 2.0], "b": [0.0]}, 1.0),
        ({"W": [1.0, np.nan], "b": [1.0]}, np.inf),
    ],
)
def test_error_is_relative_and_per_leaf(found, error):
    true = {"W": np.array([1.0, 2.0]), "b": np.array([1.0])}
    assert compare.largest_error(jax.tree.map(np.array, found, is_leaf=lambda x: isinstance(x, list)), true) == (
        pytest.approx(error, rel=1e-6)
    )


def test_a_leaf_of_zeros_is_scaled_by_the_whole():
    true = {"W": np.array([3.0, 4.0]), "b": np.zeros(1)}
    found = {"W": np.array([3.0, 4.0]), "b": np.array([0.05])}
    assert compare.errors(found, true) == {"['W']": 0.0, "['b']": pytest.approx(0.01)}


def test_structure_and_shape_come_first():
    with pytest.raises(ValueError, match="structure"):
        compare.errors((np.ones(2),), [np.ones(2)])
    with pytest.raises(ValueError, match=r"shape \(2, 1\); expected \(1, 2\)"):
        compare.errors(np.ones((2, 1)), np.ones((1, 2)))


def test_command_prints_a_line_for_each_case(capsys):
    assert command.main(["--only", "logistic regression, one"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["case", "seed", "weights"]
    assert sum(line.endswith("  ok") for line in lines) == 2 * len(SEEDS)
    assert "8 cases, 0 failed" in lines[-1]


def test_command_fails_on_a_wrong_gradient(capsys, monkeypatch):
    # a network of its own: what JAX compiled of another would not be wrong, and what it compiles of this one stays so
    planted = Problem("planted", Model((6, 2), output="identity", cost="squared_error"), 11, "real")
    monkeypatch.setattr(command, "PROBLEMS", [planted])
    right = _equations.bias_gradient
    monkeypatch.setattr(_equations, "bias_gradient", lambda *args: 1.0001 * right(*args))
    assert command.main([]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out and "8 cases, 8 failed" in out


def test_command_refuses_an_unknown_case(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--only", "no such case"])
    assert stop.value.code == 2
    assert "no case has that in its name" in capsys.readouterr().err
