"""`python -m manual_bp train`, run as a user runs it."""

import re
import subprocess
import sys
from collections.abc import Callable

import command_runs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import REGRESSION, run

import manual_bp as bp
from manual_bp import __main__ as command
from manual_bp import _activations
from manual_bp._command import data, gradient_check, train
from manual_bp._command.examples import examples
from manual_bp._command.gradient_check import gradient_errors, plain_cost

NETWORK = bp.Network((4, 6, 5, 3))
VALUES = bp.Network((4, 6, 5, 2), output="identity", cost="squared_error")


def without_times(out: str) -> str:
    return re.sub(r"\d+\.\d s$", "", out, flags=re.MULTILINE)


@pytest.fixture
def small(tmp_path) -> str:
    return command_runs.blobs(tmp_path)


@pytest.fixture
def plane(tmp_path) -> str:
    return command_runs.plane(tmp_path)


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
        re.fullmatch(r"  epoch +(\d+) of 20: cost (\d\.\d{4}), test accuracy (.+)%", line) for line in lines[3:13]
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
    digits = data.digits()
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
    argv = ("--hidden", "9,7", "--batch-size", "5", "--epochs", "30", "--learning-rate", "0.01")
    out = run(capsys, "--data", command_runs.trees(tmp_path), *argv)
    assert "trees.csv, target column 'species': 40 examples, 2 features, 2 classes" in out
    assert "network 2-9-7-2: " in out
    assert "test accuracy 100.00%, 8 of 8 test examples" in out


def test_train_is_what_runs_without_a_command(capsys, small):
    argv = ("--data", small, "--epochs", "2")
    assert without_times(run(capsys, "train", *argv)) == without_times(run(capsys, *argv))


@pytest.mark.parametrize("more", [("--l2", "0.3"), ("--dropout", "0.5"), ("--batch-size", "7")])
def test_options_of_training_change_it(capsys, small, more):
    argv = ("--data", small, "--epochs", "2")
    before, after = (re.findall("cost (.+), test", run(capsys, *argv, *m))[-1] for m in ((), more))
    assert before != after


def test_values_are_learnt_on_their_own_scale(capsys, plane):
    out = run(capsys, "--data", plane, *REGRESSION)
    lines = out.splitlines()
    assert re.fullmatch(
        r".*, target column 'value': 90 examples, 2 features, values from 2\d\d\.\d+ to 3\d\d\.\d+", lines[0]
    )
    assert lines[1].startswith("network 2-16-1: relu, identity, squared error; float32, ")
    checked = re.fullmatch(r"seed 0: gradient checked .* on 72 examples: largest relative error (.+) \(.*", lines[2])
    assert checked and float(checked[1]) <= 1e-12
    assert re.fullmatch(r"  epoch  4 of 40: cost \d\.\d{4}, test R² -?\d\.\d{4}", lines[3])
    tested = re.fullmatch(
        r"seed 0: test R² (.+), root mean squared error (.+) on 18 test examples; \d+\.\d s", lines[-1]
    )
    assert tested and float(tested[1]) > 0.98
    y = data.read(plane, regression=True).y
    assert float(tested[2]) == pytest.approx(np.std(y) * np.sqrt(1 - float(tested[1])), rel=0.35)


def test_the_gradient_of_a_regression_is_checked_too(capsys, monkeypatch, plane):
    monkeypatch.setattr(gradient_check, "value_and_grad", planted(lambda d: d._replace(W=d.W / 2), 1))
    assert command.main(["--data", plane, *REGRESSION]) == 1
    assert "relative error 5.0e-01 in dW[1]; " in capsys.readouterr().err


def test_early_stopping_watches_examples_that_are_not_those_tested(capsys, small):
    out = run(capsys, "--data", small, "--epochs", "30", "--patience", "3", "--learning-rate", "0.03")
    assert "checked against jax.grad on 30 examples" in out
    stopped = re.search(r"^  stopped after epoch (\d+); the model is that of epoch (\d+), the best$", out, re.MULTILINE)
    assert stopped and int(stopped[1]) == int(stopped[2]) + 3 < 30
    assert " of 9 test examples; " in out
    assert ", validation accuracy " in out and not re.search(r"epoch .* test accuracy", out)


def test_the_parts_of_the_examples_do_not_meet():
    digits = data.digits()
    for apart, sizes in ((False, (1438, 359, 359)), (True, (1151, 287, 359))):
        parts = examples(digits, 5, apart)
        assert [part.X.shape[1] for part in parts[:3]] == list(sizes)
        rows = [set(map(bytes, parts.inputs.back(part.X.T).round().astype(np.int8))) for part in parts[:3]]
        assert not rows[0] & rows[1] and not rows[0] & rows[2]
        assert bool(rows[1] & rows[2]) != apart
    np.testing.assert_array_equal(examples(digits, 5, True).test.Y, examples(digits, 5, False).test.Y)


def test_learning_curves_are_drawn(capsys, tmp_path, small, plane):
    for argv in (("--data", small, "--epochs", "3", "--patience", "2"), ("--data", plane, *REGRESSION)):
        path = tmp_path / "curves.PNG"
        assert f"learning curves drawn to {path}" in run(capsys, *argv, "--plot", str(path))
        png = path.read_bytes()
        assert png.startswith(b"\x89PNG") and 20_000 < len(png) < 150_000
        path.unlink()


def test_what_cannot_be_drawn_is_refused_before_training(capsys, monkeypatch, tmp_path):
    path = str(tmp_path / "absent" / "x.png")
    assert command.main(["--plot", path]) == 2
    assert capsys.readouterr() == ("", f"manual_bp: error: --plot {path}: there is no directory {tmp_path}/absent\n")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert command.main(["--plot", "x.png"]) == 2
    message = "--plot needs matplotlib: pip install 'manual_bp[bench]'"
    assert capsys.readouterr() == ("", f"manual_bp: error: {message}\n")


def test_the_device_is_chosen_and_named(capsys, monkeypatch, small):
    assert "float32, cpu\n" in run(capsys, "--data", small, "--epochs", "1", "--device", "cpu")

    def none(name: str) -> list:
        raise RuntimeError(f"Unknown backend {name}")

    monkeypatch.setattr(jax, "devices", none)
    for argv in (("--data", small), ("predict", "model", "--data", small), ("evaluate", "model", "--data", small)):
        assert command.main([*argv, "--device", "gpu"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(
            r"manual_bp: error: --device gpu: JAX finds no gpu here, only \w+; .*'manual_bp\[cuda13\]'\n", err
        )


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
    monkeypatch.setattr(gradient_check, "value_and_grad", planted(mistake, layer))
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


def arguments(network: bp.Network) -> tuple:
    rng, m, n_L = np.random.default_rng(2), 11, network.sizes[-1]
    params = bp.init(network, jax.random.key(0), np.float32)
    return params, rng.normal(size=(4, m)), rng.integers(0, 3, m) if network == NETWORK else rng.normal(size=(n_L, m))


@pytest.mark.parametrize("network", [NETWORK, VALUES], ids=["classes", "values"])
def test_the_check_is_made_in_float64_and_leaves_the_configuration_alone(network):
    before = jnp.zeros(()).dtype
    errors = gradient_errors(network, *arguments(network))
    assert list(errors) == ["dW[1]", "db[1]", "dW[2]", "db[2]", "dW[3]", "db[3]"]
    assert max(errors.values()) <= 1e-14
    assert jnp.zeros(()).dtype == before


@pytest.mark.parametrize("network", [NETWORK, VALUES], ids=["classes", "values"])
def test_the_check_differentiates_by_no_rule_of_the_library(network):
    params, X, Y = arguments(network)
    X = X.astype(np.float32)
    assert "custom_vjp" in str(jax.make_jaxpr(bp.cost, static_argnums=0)(network, params, X, Y))
    assert "custom_vjp" not in str(jax.make_jaxpr(plain_cost)(params, X, Y))
    np.testing.assert_allclose(plain_cost(params, X, Y), bp.cost(network, params, X, Y), rtol=1e-6)


def test_a_step_that_is_not_finite_ends_the_run_in_one_line(capsys, small):
    assert command.main(["--data", small, "--learning-rate", "1e30"]) == 1
    assert re.fullmatch(
        r"manual_bp: error: seed 0: the cost of step \d+, in epoch \d+, or what it leads to is not finite: try a lower "
        r"--learning-rate\n",
        capsys.readouterr().err,
    )


def test_control_c_ends_the_run_in_one_line(capsys, monkeypatch, small):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "gradient_errors", interrupt)
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
        (["--l2=-1"], "argument --l2: '-1' is not a number from 0 on"),
        (["--dropout", "1"], "argument --dropout: '1' is not a number from 0 on and below 1"),
        (["--patience", "0"], "argument --patience: '0' is not an integer from 1 to 2147483647"),
        (["--plot", "curves.pdf"], "argument --plot: 'curves.pdf' is not a file named .png"),
        (["--regression"], "--regression needs values to learn, and the digits have classes: give a file with --data"),
        (["--resume"], "--resume goes on with the training in a directory: name it with --out"),
        (
            ["--out", "model", "--seeds", "2"],
            "--out is for one training, and --seeds makes 2: leave one of the two out",
        ),
        (
            ["--plot", "x.png", "--seeds", "2"],
            "--plot is for one training, and --seeds makes 2: leave one of the two out",
        ),
    ],
)
def test_a_bad_option_is_refused(capsys, argv, message):
    with pytest.raises(SystemExit) as exit:
        command.main(argv)
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m manual_bp train ")
    assert err.splitlines()[-1] == f"python -m manual_bp train: error: {message}"


def printed(capsys: pytest.CaptureFixture, *argv: str) -> str:
    with pytest.raises(SystemExit) as exit:
        command.main(argv)
    assert exit.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_names_the_commands_and_what_none_is(capsys):
    text = printed(capsys, "--help")
    for part in ("train ", "predict ", "evaluate ", "Without a command it is train"):
        assert part in text


@pytest.mark.parametrize("argv", [("train", "--help"), ("--seed", "1", "--help")])
def test_help_names_every_option_and_default(capsys, argv):
    text = printed(capsys, *argv)
    for option in ("--data FILE", "--target NAME", "--hidden N,N", "--epochs N", "--batch-size N", "--seed N"):
        assert option in text
    for default in ("'target', 'label' or 'y' if there is one, else the last", "(default: 128)", "(default: 0.001)"):
        assert default in text


def test_an_unknown_command_or_option_is_refused(capsys):
    for argv, message in ((["fit"], "invalid choice: 'fit'"), (["--momentum", "1"], "unrecognized arguments: --mom")):
        with pytest.raises(SystemExit) as exit:
            command.main(argv)
        assert exit.value.code == 2
        assert message in capsys.readouterr().err


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
