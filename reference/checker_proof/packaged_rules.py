"""Rules of custom_vjp and custom_jvp in released packages, and arguments to check them at.

A rule is imported when it is checked, since the packages are no dependencies: whichever are installed are checked.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_rng = np.random.default_rng(5)
X, S, x = _rng.normal(size=(3, 4)), _rng.normal(size=(4, 4)), _rng.normal(size=5)
positive, p = _rng.uniform(0.5, 2.0, size=5), _rng.uniform(0.1, 0.9, size=5)  # p: probabilities
near = 0.2 + 0.1 * x  # its projection on the simplex keeps most elements
one_hot = np.eye(4)[:3]
angle, concentration, rate = np.array(0.1), np.array(2.0), np.array(1.5)
key = jax.random.key(0)
eight_bits = X.astype(np.float32), np.ones(1, np.float32), np.zeros(4, np.float32)
fp8 = jnp.float32, jnp.float8_e5m2
TFP = "tensorflow_probability.substrates.jax.math"


class PackagedRule(NamedTuple):
    """A function with a rule in it: where to import it, how to call it, and how it differs on purpose.

    `call(f)` returns the function to check, made from the imported one, and its arguments.
    """

    name: str
    call: Callable[[Any], tuple[Callable, tuple]]
    remark: str = ""


def _sum_of_squares(w: Any, target: Any) -> Any:
    return jnp.sum((w - target) ** 2) + jnp.sum(w**4)


def _descent(solver: Any) -> tuple[Callable, tuple]:
    return lambda target: solver(_sum_of_squares, tol=1e-12).run(jnp.zeros(5), target).params, (x,)


def _pendulum(odeint: Any) -> tuple[Callable, tuple]:
    tight = {"rtol": 1e-10, "atol": 1e-10}
    return lambda y, a: odeint(lambda y, t, a: -a * jnp.sin(y), y, jnp.linspace(0.0, 1.0, 3), a, **tight), (x, rate)


def _adjoint(adjoint: Any) -> tuple[Callable, tuple]:
    diffrax = importlib.import_module("diffrax")

    def solve(y: Any, a: Any) -> Any:
        term = diffrax.ODETerm(lambda t, y, a: -a * jnp.sin(y))
        return diffrax.diffeqsolve(term, diffrax.Tsit5(), 0.0, 1.0, 0.1, y, a, adjoint=adjoint()).ys

    return solve, (x, rate)


def _loop(while_loop: Any) -> tuple[Callable, tuple]:
    def body(carried: Any) -> Any:
        return carried[0] + 1, 1.3 * jnp.sin(carried[1])

    return lambda X: while_loop(lambda c: c[0] < 3, body, (0, X), max_steps=8, kind="checkpointed")[1], (X,)


def _attention(attention: Any) -> tuple[Callable, tuple]:
    mask = jnp.tril(jnp.ones((4, 4), bool))
    return lambda q, k, v: attention(mask, q, k, v, None), (S, S[::-1] + 1, S.T)


def _root(root_find: Any) -> tuple[Callable, tuple]:
    newton = importlib.import_module("optimistix").Newton(1e-12, 1e-12)
    return lambda a: root_find(lambda y, a: y**3 + y - a, newton, jnp.zeros(5), args=a).value, (x,)


def _samples(distribution: Any) -> tuple[Callable, tuple]:
    return lambda k: distribution(jnp.zeros(()), k).sample(seed=key, sample_shape=(5,)), (concentration,)


ADJOINT = "an adjoint in continuous time agrees to the tolerance of the solver"
TRAINING = "on purpose: the derivatives of scale and history carry their new values"

RULES = (
    PackagedRule("optax.scale_gradient", lambda f: (lambda X: f(X, 0.3), (X,)), "on purpose: that is what it is for"),
    PackagedRule("optax.projections.projection_simplex", lambda f: (lambda v: f(v), (near,))),
    PackagedRule("optax.losses.safe_softmax_cross_entropy", lambda f: (f, (X, np.abs(X)))),
    PackagedRule(
        "optax.losses.safe_softmax_cross_entropy",
        lambda f: (lambda logits, labels: f(logits, labels), (X, one_hot)),
        "one-hot labels: at a label of 0 the function chooses its branch",
    ),
    PackagedRule("distrax.multiply_no_nan", lambda f: (f, (x, positive))),
    PackagedRule("distrax._src.utils.math.power_no_nan", lambda f: (f, (positive, x))),
    PackagedRule(
        "distrax._src.distributions.von_mises._von_mises_cdf",
        lambda f: (lambda value, k: f(value, k, value.dtype), (angle, concentration)),
    ),
    PackagedRule(
        "distrax.VonMises",
        _samples,
        "sample, on purpose: the gradient is that of the distribution, not of the algorithm",
    ),
    PackagedRule("lineax.internal.two_norm", lambda f: (f, (jnp.asarray(x),))),
    PackagedRule("lineax.internal.max_norm", lambda f: (f, (x,))),
    PackagedRule("optimistix.root_find", _root),
    PackagedRule("jaxopt.projection.projection_simplex", lambda f: (lambda v: f(v), (near,))),
    PackagedRule("jaxopt.projection.projection_sparse_simplex", lambda f: (lambda v: f(v, 3), (near,))),
    PackagedRule("jaxopt.isotonic.isotonic_l2_pav", lambda f: (lambda v: f(v), (x,))),
    PackagedRule("jaxopt.LBFGS", _descent),
    PackagedRule(
        "e3nn_jax._src.spherical_harmonics._custom_jvp_spherical_harmonics",
        lambda f: (lambda v: f((0, 1, 2, 3), v, "component", ("recursive", "dense")), (X[:2, :3],)),
    ),
    PackagedRule("e3nn_jax._src.utils.einsum.einsum", lambda f: (lambda A, B: f("ij,jk->ik", A, B), (X, S))),
    PackagedRule("equinox.internal.nextafter", lambda f: (f, (X,))),
    PackagedRule("equinox.internal.while_loop", _loop),
    PackagedRule("equinox.debug.backward_nan", lambda f: (lambda x: f(x, terminate=False), (x,))),
    PackagedRule("diffrax.RecursiveCheckpointAdjoint", _adjoint),
    PackagedRule("diffrax.BacksolveAdjoint", _adjoint, ADJOINT),
    PackagedRule("flax.linen.fp8_ops.in_qdq", lambda f: (lambda X, s, h: f(*fp8, X, s, h), eight_bits), TRAINING),
    PackagedRule("flax.linen.fp8_ops.out_qdq", lambda f: (lambda X, s, h: f(*fp8, X, s, h), eight_bits), TRAINING),
    PackagedRule(
        "flax.linen.fp8_ops.dot_general_with_precision",
        lambda f: (lambda A, B: f(A, B, (((1,), (0,)), ((), ()))), (X, S)),
    ),
    PackagedRule(f"{TFP}.bessel_ive", lambda f: (lambda z: f(1.5, z), (positive,))),
    PackagedRule(f"{TFP}.log_bessel_kve", lambda f: (lambda z: f(1.5, z), (positive,))),
    PackagedRule(f"{TFP}.bessel_iv_ratio", lambda f: (lambda z: f(1.5, z), (positive,))),
    PackagedRule(f"{TFP}.betaincinv", lambda f: (f, (positive, positive[::-1], p))),
    PackagedRule(f"{TFP}.igammainv", lambda f: (f, (positive, p))),
    PackagedRule(f"{TFP}.erfcx", lambda f: (f, (x,))),
    PackagedRule(f"{TFP}.lambertw", lambda f: (f, (positive,))),
    PackagedRule(f"{TFP}.owens_t", lambda f: (f, (x, positive))),
    PackagedRule("jax.experimental.ode.odeint", _pendulum, ADJOINT),
    PackagedRule(
        "jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_kernel.attention_reference_custom",
        _attention,
    ),
    PackagedRule("jax.nn.relu", lambda f: (f, (X,))),
    PackagedRule("jax.nn.relu6", lambda f: (f, (3 * X,))),
    PackagedRule("jax.nn.log1mexp", lambda f: (f, (positive,))),
    PackagedRule("jax.numpy.logaddexp", lambda f: (f, (x, positive))),
    PackagedRule("jax.numpy.hypot", lambda f: (f, (x, positive))),
    PackagedRule("jax.numpy.linalg.det", lambda f: (f, (S,))),
    PackagedRule("jax.numpy.linalg.slogdet", lambda f: (f, (S,))),
    PackagedRule("jax.numpy.linalg.pinv", lambda f: (f, (X,))),
    PackagedRule("jax.scipy.special.xlogy", lambda f: (f, (x, positive))),
    PackagedRule("jax.scipy.special.log_ndtr", lambda f: (f, (x,))),
    PackagedRule("jax.scipy.special.ndtri", lambda f: (f, (p,))),
    PackagedRule("jax.scipy.special.zeta", lambda f: (f, (positive + 1.5, positive))),
    PackagedRule("jax.scipy.special.poch", lambda f: (f, (positive, p))),
    PackagedRule("jax.scipy.special.hyp1f1", lambda f: (f, (positive, positive[::-1] + 1, x))),
    PackagedRule("jax.scipy.special.expi", lambda f: (f, (positive,))),
)
