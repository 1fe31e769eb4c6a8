import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from benchmark_runs import PEERS

import manual_bp as bp
from benchmarks import fused, measure, plans
from benchmarks.suite import Cell
from benchmarks.training import command, in_jax, programs, task, trainer


@pytest.fixture
def x32():
    """Turn 64-bit types off, as a run does."""
    with jax.enable_x64(False):
        yield


def test_a_call_starts_from_the_same_state_and_ends_with_an_epoch(x32):
    given = task.synthetic((12, 8, 3), 5)
    assert given.steps == task.steps_of_a_call(5) == 64 and task.steps_of_a_call(2048) == 4
    assert sorted(given.rows(0).ravel()) == list(range(320)) and given.rows(0).shape == (64, 5)
    made = trainer.Training(in_jax.manual(given))
    ends = []
    for _ in range(2):
        made.ready()
        ends.append(made()[0])
    a, b = ends
    assert int(a.step) == 64 and all(map(np.array_equal, jax.tree.leaves(a.params), jax.tree.leaves(b.params)))
    # the second epoch is in the order that the state after the first gives
    rows = jax.jit(given.drawn_rows)(a)
    assert np.array_equal(rows, given.rows(1)) and not np.array_equal(given.rows(0), given.rows(1))


def test_a_program_that_cannot_run_here():
    def fails(state, e):
        raise RuntimeError("no compiler\nin many words")

    trains = trainer.Trainer(
        lambda: None, fails, lambda state, costs: (costs, ()), library="a 1", may_fail=(RuntimeError,)
    )
    assert trainer.Training(trains).preparation == {"library": "a 1", "not_run": "RuntimeError: no compiler"}
    with pytest.raises(RuntimeError, match="no compiler"):
        _ = trainer.Training(trains._replace(may_fail=())).preparation
    made = {"manual": trainer.Training(trains), "optax_scan": "left out", "control": "left out"}
    found = measure.measure_cell(
        command.SUITE, Cell({}, lambda: made), "float32", plans.TRAINING["quick"], lambda fraction: None
    )
    assert found["error"] == "control not run: left out" and found["programs"] == {} and found["others_cpu"] is None


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:No CUDA runtime is found")
def test_peers_do_what_optax_does(name, x32):
    """Costs, changes, and the same again in a second epoch, which is in another order."""
    pytest.importorskip(PEERS[name], exc_type=ImportError)
    given = task.synthetic((12, 8, 3), 5)
    made = programs.steps((12, 8, 3), 5, [name])[name]
    assert isinstance(made, trainer.Training)
    made.exact = None  # the float32 that is timed
    if "not_run" in made.preparation:
        pytest.skip(made.preparation["not_run"])
    assert made.preparation["library"].split()[0] in ("flax", "torch", "scikit-learn")
    right = in_jax.optax_scan(given)
    state, costs = right.epoch(right.start(), 0)
    agree(made.result(), right.read(state, costs))
    agree(made.result(), right.read(state, costs))  # from the start again
    found, _ = made.trainer.epoch(made.trainer.start(), 0)
    found, costs_found = made.trainer.epoch(found, 1)
    _, change = made.trainer.read(found, costs_found)
    agree((costs, change), (costs, right.read(*right.epoch(state, 1))[1]))


@pytest.mark.parametrize("taken", [True, False])
def test_training_by_a_kernel(taken, x32, monkeypatch):
    """An epoch that stands for the kernel's is asked for by its keyword; if another way is taken, nothing is timed."""
    right, asked = bp.train_epoch, []

    def stands_for(*args, kernel=None):
        asked.append(kernel)
        return right(*args)

    monkeypatch.setattr(bp, "train_epoch", stands_for)
    gradient = bp.value_and_grad
    monkeypatch.setattr(bp, "value_and_grad", lambda network, kernel=None: gradient(network))
    monkeypatch.setattr(fused, "another_way", lambda function, *args: None if taken else "another way")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    made = programs.steps((12, 8, 3), 5, ["manual_fused"])["manual_fused"]
    assert isinstance(made, trainer.Training)
    if not taken:
        assert made.preparation == {"not_run": "RuntimeError: another way"} and asked == [None]
        return
    assert made.preparation["first_s"] > 0 and asked == [None, "fused"]  # the first is in float64
    made.exact = None
    expected = trainer.Training(in_jax.optax_scan(task.synthetic((12, 8, 3), 5))).result()
    agree(made.result(), expected)


def test_programs_that_need_a_gpu(x32):
    made = programs.steps((12, 8, 3), 5, ["manual_fused", "torch_graph"])
    assert made["manual_fused"] == "it needs a GPU"
    assert made["torch_graph"] == "it needs a GPU" or "torch cannot be imported" in str(made["torch_graph"])


@pytest.fixture
def any_adam(monkeypatch):
    """Adam of PyTorch in its plain form: the others need a device that they were written for."""
    torch = pytest.importorskip("torch", exc_type=ImportError)
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda params, lr, **forms: adam(params, lr))
    return torch


def test_a_recorded_step_starts_where_the_others_do(x32, any_adam, monkeypatch):
    """Recording takes steps itself. A GPU would replay; here the step is called again."""
    from benchmarks.training import in_torch

    def record(step):
        cost = [step() for _ in range(4)][-1]
        return lambda: cost.copy_(step()), cost

    monkeypatch.setattr(in_torch, "record", record)
    given = task.synthetic((12, 8, 3), 5)
    right = in_jax.optax_scan(given)
    expected = right.read(*right.epoch(right.start(), 0))
    made = trainer.Training(in_torch.graph(given))
    agree(made.result(), expected)
    agree(made.result(), expected)


@pytest.mark.parametrize("name", ["eager", "compiled"])
def test_torch_computes_on_the_device_of_jax(name, x32, any_adam, monkeypatch):
    """On one that holds no values, any tensor left on the CPU is refused; every call is waited for."""
    from benchmarks import torch_network
    from benchmarks.gradients import in_torch as of_gradients
    from benchmarks.program import random_problem
    from benchmarks.training import in_torch

    monkeypatch.setattr(torch_network, "device", lambda: "meta")
    waits = []
    for module in (in_torch, of_gradients):
        monkeypatch.setattr(module, "synchronize", lambda: waits.append(1))
    made = getattr(in_torch, name)(task.synthetic((12, 8, 3), 5))
    _, costs = made.epoch(made.start(), 0)
    assert {cost.device.type for cost in costs} == {"meta"} and waits == [1] and made.rest == 0
    c, grads = getattr(of_gradients, name)(random_problem((12, 8, 3), 5, "float32"))()
    assert {x.device.type for x in (c, *grads)} == {"meta"} and waits == [1, 1]


@pytest.mark.parametrize(("precision", "of_torch"), [(None, "high"), ("highest", "highest")])
def test_torch_has_the_precision_of_jax(precision, of_torch, x32, any_adam, monkeypatch):
    from benchmarks import torch_network

    given = task.synthetic((12, 8, 3), 5)
    with monkeypatch.context() as patch, jax.default_matmul_precision(precision):
        patch.setattr(jax, "default_backend", lambda: "gpu")
        patch.setattr(torch_network, "device", lambda: "cpu")
        torch_network.prepare(given.network.sizes, *given.data)
        assert any_adam.get_float32_matmul_precision() == of_torch
    torch_network.prepare(given.network.sizes, *given.data)
    assert any_adam.get_float32_matmul_precision() == "highest"


def agree(found, right):
    """Compare costs and changes; rounding of so few small numbers is all that differs."""
    assert jax.tree.structure(found) == jax.tree.structure(right)
    bounds = [2e-6] + [5e-5] * (len(jax.tree.leaves(right)) - 1)
    for a, b, bound in zip(jax.tree.leaves(found), jax.tree.leaves(right), bounds, strict=True):
        assert a.shape == b.shape and np.linalg.norm(a - b) <= bound * np.linalg.norm(b)


def test_the_changes_are_compared_in_float64(x32):
    """Two programs that are both right agree there; in float32 a unit at its kink can keep them apart."""
    made = programs.steps((64, 64, 64, 10), 32, ["manual", "optax_scan"])
    assert isinstance(made["manual"], trainer.Training) and isinstance(made["optax_scan"], trainer.Training)
    (costs, found), (_, right) = made["manual"].result(), made["optax_scan"].result()
    assert costs.dtype == np.float32
    for a, b in zip(map(np.asarray, jax.tree.leaves(found)), map(np.asarray, jax.tree.leaves(right)), strict=True):
        assert a.dtype == np.float64 and np.linalg.norm(a - b) <= 1e-12 * np.linalg.norm(b) != 0


def test_where_eps_stands_is_all_that_sets_scikit_learn_apart(x32, monkeypatch):
    pytest.importorskip("sklearn")

    def update(updates, state, params=None, **rest):
        adam, after = state
        t = adam.count + 1
        mu = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, adam.mu, updates)
        nu = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, adam.nu, updates)
        rate = task.LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        updates = jax.tree.map(lambda m, v: -rate * m / (jnp.sqrt(v) + 1e-8), mu, nu)
        return updates, (adam._replace(count=t, mu=mu, nu=nu), after)

    given = task.synthetic((64, 64, 64, 10), 32)
    made = programs.steps((64, 64, 64, 10), 32, ["sklearn"])["sklearn"]
    assert isinstance(made, trainer.Training)
    made.exact = None
    found = made.result()[1]
    apart = {}
    as_sklearn = optax.GradientTransformation(task.ADAM.init, update)
    for name, adam in {"optax": task.ADAM, "scikit-learn": as_sklearn}.items():
        monkeypatch.setattr(in_jax, "ADAM", adam)
        right = trainer.Training(in_jax.optax_scan(given)).result()[1]
        leaves = zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True)
        apart[name] = max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in leaves)
    assert apart["optax"] > 3e-3 and apart["scikit-learn"] < 2e-5


def test_a_state_of_the_library_is_not_used_up(x32):
    """The baseline donates what it is given: it is a copy."""
    given = task.synthetic((12, 8, 3), 5)
    for build in (in_jax.optax_scan, in_jax.optax_loop):
        jax.block_until_ready(build(given).epoch(build(given).start(), 0))
    assert bp.predict(given.network, given.state.params, given.data.X.T).shape == (3, 320)
