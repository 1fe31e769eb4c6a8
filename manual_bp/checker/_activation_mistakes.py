"""Mistakes in the lines at an activation and at the cost: dZ = dA * g'(Z), and the derivative of the loss."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from manual_bp._activations import ACTIVATIONS
from manual_bp.checker._candidate import Candidate, wrong_delta
from manual_bp.checker._output import DERIVATIVES, ONE_SIGN_LOST, PRIMES, SQUARED_ERROR, Output
from manual_bp.checker._scene import Scene
from manual_bp.checker._stage import Elementwise, Stage, activation_of, derivative_text


def activation(scene: Scene, stage: Stage, form: Elementwise) -> Iterator[Candidate]:
    """dZ = dA * g'(Z), with another factor, another delta, or a matrix product."""
    D, G, Z, A = stage.D, form.G, stage.line, stage.successor
    d = f"d{A}"
    if form.factor:
        yield Candidate("missing factor", D, f"the factor {form.factor} is missing")
    else:
        yield Candidate("missing g'", D, f"g'({Z}) is missing: d{Z} is {d}")
    yield Candidate("g' twice", D * G * G, f"g'({Z}) is applied twice")
    if Z in scene.graph.nodes:
        value, after = scene.values[Z], scene.values[A]
        at_A = scene.through(A, np.ones(D.shape), {Z: after - value})[Z]
        yield Candidate("g' at A", D * at_A, f"g' is taken at {A} where it should be at {Z}")
        yield Candidate("g for g'", D * after, f"{d} is multiplied by {A} = g({Z}), not by g'({Z})")
        for text, other in _other_primes(value, after).items():
            right = derivative_text(scene, Z, A, G).strip("()")
            yield Candidate("wrong g'", D * other, f"{d} is multiplied by {text.format(Z=Z, A=A)}, not by {right}")
        yield from _primes_elsewhere(scene, stage)
    for left, right, text in ((D, G.T, "@ g'.T"), (D.T, G, ".T @ g'"), (D, G, "@ g'")):
        if left.ndim == 2 and left.shape[1] == right.shape[0]:
            yield Candidate(
                "matrix product for element-wise",
                left @ right,
                f"{d} and g'({Z}) are multiplied as matrices ({d}{text}), not element by element",
            )
    yield from wrong_delta(scene, stage, lambda line: line * G if line.shape == G.shape else None)


def _primes_elsewhere(scene: Scene, stage: Stage) -> Iterator[Candidate]:
    for node in scene.graph.nodes:
        value = scene.values[node]
        if node not in (stage.line, stage.successor) and value.shape == stage.D.shape:
            at = scene.through(stage.successor, np.ones(stage.D.shape), {stage.line: value - scene.values[stage.line]})
            says = f"g' is taken at {node} where it should be at {stage.line}"
            yield Candidate(
                "g' at A" if activation_of(scene, stage.line) == node else "g' of another layer",
                stage.D * at[stage.line],
                says,
            )


def _other_primes(Z: np.ndarray, A: np.ndarray) -> dict[str, np.ndarray]:
    """What stands for g'(Z) by mistake: slips in a formula of A, and the derivatives of all activations."""
    slips = {
        "{A} * (1 - {A}), the sigmoid's": A * (1 - A),
        "1 - {A}**2, tanh's": 1 - A**2,
        "1 + {A}**2": 1 + A**2,
        "1 - {A}": 1 - A,
    }
    known = {f"{name}'({{Z}})": (g.g, g.g_prime) for name, g in ACTIVATIONS.items() if g.g_prime and name != "identity"}
    return slips | {
        text: np.asarray(g_prime(jnp.asarray(Z), g(jnp.asarray(Z)))) for text, (g, g_prime) in known.items()
    }


def output(scene: Scene, stage: Stage, form: Output) -> Iterator[Candidate]:
    """The derivative at the output: its g' left out or kept, or that of another cost."""
    names = {"A": form.A, "Y": form.Y}
    for other in form.others():
        of = DERIVATIVES[other][1]
        key = "cost sign" if of == ONE_SIGN_LOST else "derivative of another cost"
        says = (
            f"it is made of {other.format(**names)} ({of}); the cost's derivative is {form.derivative.format(**names)}"
        )
        yield Candidate(key, form.array(other), says)
        if of == SQUARED_ERROR:
            yield Candidate(key, 2 * form.array(other), says)
    if form.prime:
        yield Candidate("missing g'", form.array(prime=""), f"the output's g'{form.prime.format(**names)} is missing")
        yield Candidate(
            "g' twice", form.array() * PRIMES[form.prime](form.values[0]), "the output's g' is applied twice"
        )
    else:
        for prime in (p for p in PRIMES if p):
            kept = form.derivative.format(**names)
            says = f"the output's g',{prime[2:].format(**names)}, is kept beside {kept}, which holds it"
            yield Candidate("g' kept", form.array(prime=prime), says)
