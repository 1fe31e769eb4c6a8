"""The public names, and the independence of the oracles."""

import ast
import inspect
import pickle
import re
from pathlib import Path

import jax
import pytest

import manual_bp as bp

ROOT = Path(__file__).parent.parent
NAMES = [
    "Activation", "CheckpointError", "Cost", "Dataset", "EarlyStopping", "Epoch", "Evaluation", "FitResult", "History",
    "KroneckerFactors", "Layer", "MatchedLoss", "Network", "Params", "Record", "Saved", "SavedModelError", "TrainState",
    "accumulate", "assert_custom_vjp", "assert_gradients_match", "backpropagate", "check_custom_vjp", "check_gradients",
    "checker", "clipped_gradients", "convert", "cost", "evaluate", "fit", "forward", "gauss_newton_diagonal",
    "gauss_newton_product", "grad", "gradients", "gram_matrix", "hessian_product", "init", "kfac_factors", "load",
    "noise_scale", "output_gradient", "per_example_gradients", "per_example_layer_norms", "per_example_norms", "place",
    "predict", "privacy", "private_value_and_grad", "save", "scale_by_kfac", "second_moment", "signal_to_noise",
    "train_epoch", "train_state", "train_step", "use_cpu_devices", "value_and_grad", "variance",
]  # fmt: skip


def test_names():
    # what `import manual_bp` does not load is there once another test has
    loaded = {name for name in vars(bp) if not name.startswith("_")} - {"examples", "sklearn"}
    assert sorted(loaded) == NAMES
    assert re.fullmatch(r"\d+\.\d+\.\d+", bp.__version__)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented(name):
    assert len(inspect.getdoc(getattr(bp, name)) or "") > 60


def test_oracles_do_not_import_the_library():
    files = list((ROOT / "reference").glob("*.py"))  # its commands, in a folder of their own, may
    assert len(files) >= 6
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert not any(name.startswith("manual_bp") for name in [module, *names]), file.name


def test_library_imports_neither_oracles_nor_benchmarks():
    for file in (ROOT / "manual_bp").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (reference|benchmarks|tests)", file.read_text(), re.M), file.name


def test_descriptions_hash_compare_and_pickle():
    network = bp.Network((4, 3, 2), "tanh", "sigmoid")
    again = pickle.loads(pickle.dumps(network))
    assert again == network and hash(again) == hash(network) and again is not network
    assert bp.Network((4, 3, 2), "relu", "sigmoid") != network
    assert repr(network) == "Network(sizes=(4, 3, 2), hidden=(tanh,), output=sigmoid, cost=binary_cross_entropy)"
    assert jax.tree.leaves(network) == []
