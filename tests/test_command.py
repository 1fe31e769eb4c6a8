"""`python -m manual_bp`, run as a user runs it."""

import re
import subprocess
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import manual_bp as bp
from manual_bp import __main__ as command
from manual_bp import _activations, _autodiff, _data
from manual_bp._autodiff import gradient_errors, plain_cost
from manual_bp._training import train_epoch

NETWORK = bp.Network((4, 6, 5, 3))


def run(capsys: pytest.CaptureFixture, *argv: str) -> str:
    assert command.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def without_times(out: str) -> str:
    return re.sub(r"\d+\.\d s$", "", out, flags=re.MULTILINE)


@pytest.fixture
def small(tmp_path) -> str:
    """A file that trains in no time."""
    rng = np.random.default_rng(0)
    y = np.arange(45) % 3
    np.savez(tmp_path / "small.npz", X=rng.normal(size=(45, 4)) + y[:, None], y=y)
    return str(tmp_path / "small.npz")


@pytest.fixture(autouse=True)
def x64():
    """The command runs as JAX starts: in float32, but for its check."""
    with jax.enable_x64(False):
        yield


def test_the_digits_are_checked_then_learnt(capsys):
    out = run(capsys, "--epochs", "20")
    lines = out.splitlines()
    assert lines[0] == "handwritten digits: 1797 examples, 64 features, 10 classes"
    assert lines[1].startswith("network 64-128-10: relu, softmax, cross-entropy; float32, ")
    checked = re.fullmatch(
        r"seed 0: gradient checked against jax.grad on 1438 examples: largest relative error (.+) \(float64\)", lines[2]
    )
    assert checked and 0 <= float(checked[1]) <= 1e-12
    progress = [
        re.fullmatch(r"  epoch +(\d+) of 20: cost (\d\.\d{4}), held-out accuracy (.+)%", line) for line in lines[3:13]
    ]
    assert all(progress)
    assert [int(line[1]) for line in progress if line] == list(range(2, 21, 2))
    costs = [float(line[2]) for line in progress if line]
    assert costs == sorted(costs, reverse=True)
    (last,) = lines[13:]
    tested = re.fullmatch(r"seed 0: test accuracy (.+)%, (\d+) of 359 test examples; \d+\.\d s", last)
    assert tested and float(tested[1]) >= 95
    assert float(tested[1]) == round(100 * int(tested[2]) / 359, 2)


def test_five_seeds_average_97_percent(capsys):
    out = run(capsys, "--seeds", "5")
    accuracies = re.findall(r"^seed (\d): test accuracy (.+)%, ", out, re.MULTILINE)
    assert [seed for seed, _ in accuracies] == list("01234")
    mean = re.fullmatch(r"mean test accuracy over 5 seeds (.+)%", out.splitlines()[-1])
    assert mean and float(mean[1]) >= 97
    assert float(mean[1]) == pytest.approx(np.mean([float(accuracy) for _, accuracy in accuracies]), abs=0.011)
    assert "epoch" not in out


def test_a_seed_gives_the_same_result_alone_and_among_others(capsys, small):
    argv = ("--data", small, "--epochs", "7", "--seed", "3")
    alone, both = (without_times(run(capsys, *argv, *more)).splitlines() for more in ((), ("--seeds", "2")))
    assert both[:4] == [*alone[:3], alone[-1]]
    assert both[4:6] != [line.replace("seed 3", "seed 4") for line in both[2:4]]


def test_the_same_seed_and_digits_give_the_same_output_from_a_file_without_scikit_learn(capsys, monkeypatch, tmp_path):
    digits = _data.digits()
    np.savez(tmp_path / "digits.npz", X=digits.X, y=digits.y)
    with open(tmp_path / "digits.csv", "w", encoding="utf-8") as file:
        print("class", *(f"pixel{j}" for j in range(64)), sep=",", file=file)
        for x, y in zip(digits.X.tolist(), digits.y, strict=True):
            print(y, *x, sep=",", file=file)
    expected = run(capsys, "--epochs", "2").splitlines()
    for name in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    npz = run(capsys, "--epochs", "2", "--data", str(tmp_path / "digits.npz")).splitlines()
    csv = run(capsys, "--epochs", "2", "--data", str(tmp_path / "digits.csv"), "--target", "class").splitlines()
    counts = "1797 examples, 64 features, 10 classes"
    assert npz[0] == f"{tmp_path / 'digits.npz'}: {counts}"
    assert csv[0] == f"{tmp_path / 'digits.csv'}, target column 'class': {counts}"
    assert without_times("\n".join(npz[1:])) == without_times("\n".join(expected[1:]))
    assert without_times("\n".join(csv[1:])) == without_times("\n".join(expected[1:]))


def test_text_labels_and_two_hidden_layers(capsys, tmp_path):
    rng = np.random.default_rng(1)
    rows = [f"{rng.normal() + 8 * (name == 'oak')},{rng.normal()},{name}" for name in ["oak", "elm"] * 20]
    (tmp_path / "trees.csv").write_text("\n".join(["height,width,species", *rows]))
    argv = ("--hidden", "9,7", "--batch-size", "5", "--epochs", "30", "--learning-rate", "0.01")
    out = run(capsys, "--data", str(tmp_path / "trees.csv"), *argv)
    assert "trees.csv, target column 'species': 40 examples, 2 features, 2 classes" in out
    assert "network 2-9-7-2: " in out
    assert "test accuracy 100.00%, 8 of 8 test examples" in out


def planted(mistake: Callable[[bp.Layer], bp.Layer], layer: int) -> Callable:
    """`bp.value_and_grad` with a mistake in one layer's gradient."""

    def value_and_grad(network: bp.Network) -> Callable:
        def wrong(*args: jax.Array) -> tuple:
            c, grads = bp.value_and_grad(network)(*args)
            return c, tuple(mistake(d) if l == layer else d for l, d in enumerate(grads, start=1))

        return wrong

    return value_and_grad


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize(
    ("mistake", "found"),
    [
        (lambda d: d._replace(W=-d.W), "2.0e+00 in dW"),
        (lambda d: d._replace(b=0 * d.b), "1.0e+00 in db"),
        (lambda d: d._replace(W=d.W * 36 / 35), "2.9e-02 in dW"),
        (lambda d: d._replace(b=d.b * (1 + 2e-12)), "2.0e-12 in db"),
        (lambda d: d._replace(W=d.W.at[1, 0].set(jnp.nan)), "inf in dW"),
        (lambda d: d._replace(W=d.W.T), "inf in dW"),
        (lambda d: d._replace(b=d.b.astype(np.float32)), "inf in db"),
    ],
    ids=["sign", "no bias", "mean", "rounding", "NaN", "transpose", "float32"],
)
def test_a_wrong_gradient_is_caught_before_training(capsys, monkeypatch, small, mistake, found, layer):
    monkeypatch.setattr(_autodiff, "value_and_grad", planted(mistake, layer))
    assert command.main(["--data", small]) == 1
    out, err = capsys.readouterr()
    message = f"the gradient is wrong: relative error {found}[{layer}]; expected at most 1e-12"
    assert err == f"manual_bp: error: {message}\n"
    checked = f"seed 0: gradient checked against jax.grad on 36 examples: largest relative error {found.split()[0]}"
    assert out.splitlines()[2:] == [f"{checked} (float64)"]


def test_a_wrong_equation_is_caught_before_training(capsys, monkeypatch, small):
    no_derivative = bp.Activation(_activations.relu, _activations.identity_prime, init="he")
    monkeypatch.setitem(_activations.ACTIVATIONS, "relu", no_derivative)
    assert command.main(["--data", small]) == 1
    assert re.match(r"manual_bp: error: the gradient is wrong: .* in d[Wb]\[1\]; ", capsys.readouterr().err)


def arguments(m: int = 11) -> tuple:
    rng = np.random.default_rng(2)
    params = bp.init(NETWORK, jax.random.key(0), np.float32)
    return params, rng.normal(size=(4, m)), rng.integers(0, 3, m)


def test_the_check_is_made_in_float64_and_leaves_the_configuration_alone():
    before = jnp.zeros(()).dtype
    errors = gradient_errors(NETWORK, *arguments())
    assert list(errors) == ["dW[1]", "db[1]", "dW[2]", "db[2]", "dW[3]", "db[3]"]
    assert max(errors.values()) <= 1e-14
    assert jnp.zeros(()).dtype == before


def test_the_check_differentiates_by_no_rule_of_the_library():
    params, X, y = arguments()
    X = X.astype(np.float32)
    assert "custom_vjp" in str(jax.make_jaxpr(bp.cost, static_argnums=0)(NETWORK, params, X, y))
    assert "custom_vjp" not in str(jax.make_jaxpr(plain_cost)(params, X, y))
    np.testing.assert_allclose(plain_cost(params, X, y), bp.cost(NETWORK, params, X, y), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [4, 50])
def test_an_epoch_is_a_step_for_each_batch_the_last_one_partial(batch_size):
    params, X, y = arguments()
    X, key, optimizer = jnp.asarray(X.T, np.float32), jax.random.key(5), optax.sgd(0.1)
    epoch = train_epoch(NETWORK, optimizer, batch_size)
    (trained, _), cost = epoch((params, optimizer.init(params)), key, X, jnp.asarray(y, np.int32))

    order, total = np.asarray(jax.random.permutation(key, len(y))), 0.0
    for i in range(0, len(y), batch_size):
        rows = order[i : i + batch_size]
        c, grads = bp.value_and_grad(NETWORK)(params, X[rows].T, jnp.asarray(y[rows]))
        params = jax.tree.map(lambda p, d: p - 0.1 * d, params, grads)
        total += float(c) * len(rows)
    assert jax.tree.structure(trained) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert float(cost) == pytest.approx(total / len(y), rel=1e-5)


def test_a_cost_that_diverges_ends_the_run_in_one_line(capsys, small):
    assert command.main(["--data", small, "--learning-rate", "1e30"]) == 1
    assert re.fullmatch(
        r"manual_bp: error: seed 0: the cost is nan in epoch \d+: try a lower --learning-rate\n",
        capsys.readouterr().err,
    )


def test_control_c_ends_the_run_in_one_line(capsys, monkeypatch, small):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "gradient_errors", interrupt)
    assert command.main(["--data", small]) == 130
    assert capsys.readouterr().err == "manual_bp: interrupted\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epochs", "0"], "argument --epochs: '0' is not an integer from 1 to 2147483647"),
        (["--batch-size", "1.5"], "argument --batch-size: '1.5' is not an integer from 1 to 2147483647"),
        (["--seeds", "0"], "argument --seeds: '0' is not an integer from 1 to 2147483647"),
        (["--seed=-1"], "argument --seed: '-1' is not an integer from 0 to 2147483647"),
        (["--seed", "9" * 12], f"argument --seed: '{'9' * 12}' is not an integer from 0 to 2147483647"),
        (["--hidden", "abc"], "argument --hidden: 'abc' is not an integer from 1 to 2147483647"),
        (["--hidden", "64,,64"], "argument --hidden: '' is not an integer from 1 to 2147483647"),
        (["--learning-rate", "0"], "argument --learning-rate: '0' is not a positive number"),
        (["--learning-rate", "nan"], "argument --learning-rate: 'nan' is not a positive number"),
        (["--learning-rate", "fast"], "argument --learning-rate: 'fast' is not a positive number"),
        (["--target", "y"], "--target names a column of a .csv file: give one with --data"),
        (["--data", "a.npz", "--target", "y"], "--target names a column of a .csv file: give one with --data"),
        (["--momentum", "1"], "unrecognized arguments: --momentum 1"),
    ],
)
def test_a_bad_option_is_refused(capsys, argv, message):
    with pytest.raises(SystemExit) as exit:
        command.main(argv)
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m manual_bp ")
    assert err.splitlines()[-1] == f"python -m manual_bp: error: {message}"


def test_help_names_every_option_and_default(capsys):
    with pytest.raises(SystemExit) as exit:
        command.main(["--help"])
    assert exit.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in ("--data FILE", "--target NAME", "--hidden N,N", "--epochs N", "--batch-size N", "--seed N"):
        assert option in text
    for default in ("'target', 'label' or 'y' if there is one, else the last", "(default: 128)", "(default: 0.001)"):
        assert default in text


def test_the_module_runs_and_exits_with_the_status(tmp_path):
    path = str(tmp_path / "absent.csv")
    done = subprocess.run(
        [sys.executable, "-m", "manual_bp", "--data", path], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"manual_bp: error: {path}: no such file or directory\n"


def test_a_reader_that_goes_away_leaves_no_traceback(small):
    argv = [sys.executable, "-m", "manual_bp", "--data", small]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        assert "45 examples" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1
