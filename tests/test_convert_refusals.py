"""Parameters that do not fit the layout of another library, and messages that say why."""

from typing import Any

import numpy as np
import pytest
from layouts import FROM, TO

import manual_bp as bp
from manual_bp import convert

W: Any = np.ones((4, 6))
V: Any = np.ones((6, 3))
b: Any = np.ones(6)
c: Any = np.ones(3)
DENSE = {"kernel": W, "bias": b}


@pytest.mark.parametrize(
    ("library", "layout", "error", "message"),
    [
        ("sklearn", ([W, V], [b]), ValueError, "intercepts has length 1; expected 2, one for each of coefs: pass zeros for missing biases"),
        ("sklearn", ([], []), ValueError, "there is no layer; expected at least one"),
        ("sklearn", ([W, V[1:]], [b, c]), ValueError, r"coefs\[1\] has 5 inputs; expected 6, the outputs of coefs\[0\]; it is \(n_in, n_out\)"),
        ("sklearn", ([W.T, V.T], [b, c]), ValueError, r"intercepts\[0\] has shape \(6,\); expected \(4,\), .*: coefs\[0\] looks transposed, \(n_in, n_out\) is"),
        ("sklearn", ([W, V], [b, b[:2]]), ValueError, r"intercepts\[1\] has shape \(2,\); expected \(3,\), the outputs of coefs\[1\]$"),
        ("sklearn", ([W[0]], [b]), ValueError, r"coefs\[0\] has shape \(6,\); expected \(n_in, n_out\), as of a fully connected layer"),
        ("sklearn", ([None], [b]), TypeError, r"coefs\[0\] has dtype object; expected float32, float64, bfloat16"),
        ("sklearn", ([W.astype(complex)], [b]), TypeError, r"coefs\[0\] has dtype complex128; expected"),
        ("torch", [W], TypeError, "state_dict is a list; expected a mapping of names to arrays$"),
        ("torch", {"0.weight": W.T}, ValueError, "state_dict has no '0.bias'; .*: add zeros for a Linear without bias"),
        ("torch", {"0.bias": b}, ValueError, "state_dict has no '0.weight'; expected a weight and a bias for each layer$"),
        ("torch", {"1.running_mean": b}, ValueError, "state_dict has '1.running_mean'; expected only the weight and bias of Linear layers"),
        ("torch", {"0.weight": W, "0.bias": b}, ValueError, r"0.bias has shape \(6,\); expected \(4,\), .*: 0.weight looks transposed, \(n_out, n_in\) is"),
        ("flax", [W], TypeError, r"tree is a list; expected nested mappings: pass variables\['params'\], .* nnx.state\(model, nnx.Param\)"),
        ("flax", {"Dense_0": {"kernel": W}}, ValueError, "tree/Dense_0 has kernel; expected kernel and bias: add zeros for a layer without bias"),
        ("flax", {"BatchNorm_0": {"scale": b, "bias": b}}, ValueError, "tree/BatchNorm_0 has scale, bias; expected kernel and bias$"),
        ("flax", {"hidden": DENSE, "out": DENSE}, ValueError, "layer tree/hidden has no number at the end of its name; .* pass {'Dense_0'"),
        ("flax", {"a": {"Dense_0": DENSE}, "b": {"Dense_0": DENSE}}, ValueError, "layer tree/b/Dense_0 has the number of tree/a/Dense_0 at"),
        ("flax", {"Conv_0": {"kernel": np.ones((3, 3, 1, 8)), "bias": np.ones(8)}}, ValueError, r"Conv_0/kernel has shape \(3, 3, 1, 8\); expected"),
        ("flax", {"Dense_0": DENSE, "Dense_1": DENSE}, ValueError, "Dense_1/kernel has 4 inputs; expected 6, the outputs of tree/Dense_0/kernel"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_why(library, layout, error, message):
    with pytest.raises(error, match=message) as caught:
        FROM[library](layout)
    assert "\n" not in str(caught.value)


def test_a_torch_module_in_place_of_its_state():
    class Module:
        def state_dict(self): ...

    with pytest.raises(TypeError, match="state_dict is a Module; .*: pass model.state_dict()"):
        convert.from_torch(Module())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([bp.Layer(W.T, b[:, None])], TypeError, r"params is a list; expected a tuple of bp.Layer\(W, b\)"),
        (bp.Layer(W, b), TypeError, "expected a tuple of bp.Layer"),
        ((bp.Layer(b, b),), ValueError, r"W\[1\] has shape \(6,\); expected \(n_1, n_0\)"),
        ((bp.Layer(W.T, b),), ValueError, r"b\[1\] has shape \(6,\); expected \(6, 1\)"),
        ((bp.Layer(W.T, b[:, None]), bp.Layer(V, b[:, None])), ValueError, r"W\[2\] has shape \(6, 3\); expected \(6, 6\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("library", TO)
def test_no_params_go_out(library, params, error, message):
    with pytest.raises(error, match=message):
        TO[library](params)
