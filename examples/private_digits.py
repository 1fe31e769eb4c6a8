"""Train with differential privacy, and see what it costs in accuracy.

    python examples/private_digits.py --epsilon 3        needs the extras sklearn and privacy

Each step puts every digit into its batch with the same probability, independently, scales each digit's own gradient
g_i down to norm C, and adds noise to their sum. B is the expected batch size and sigma the noise multiplier:

    g = (sum_i min(1, C / |g_i|) g_i + sigma C n) / B        n standard normal

The parameters, and all that is ever computed from them, are then (epsilon, delta) differentially private: with one
training digit more or less, a result of probability p gets a probability of at most e^epsilon p + delta. Abadi et al.,
Deep learning with differential privacy (2016), arXiv:1607.00133.

The guarantee does not cover:

- Preprocessing. A mean and standard deviation of the training digits would reveal something about them, so the pixels
  are divided by 16, the known range of such images. The number of training digits counts as public.
- The choice of network, sampling rate, C and learning rate, which were found by looking at results. With secret data
  each such look is another training run, and spends as much.
- A known seed, with which the noise could be subtracted. Keep the seed secret and draw it at random.
"""

import argparse
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import manual_bp as bp

NETWORK = bp.Network((64, 48, 10), hidden="tanh")
RATE, MAX_NORM, DELTA = 0.25, 0.5, 1e-4
LEARNING_RATE = 0.03


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Learn handwritten digits with differential privacy, and without.")
    parser.add_argument("--epsilon", type=float, default=3.0, help="the privacy budget (default: %(default)g)")
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(argv)
    steps = options.steps

    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 16, labels, test_size=0.2, stratify=labels, random_state=options.seed)
    rows, rows_test, y, y_test = map(jnp.asarray, split)
    X, X_test, m = rows.T, rows_test.T, len(y)  # columns are examples
    sigma = bp.privacy.noise_multiplier(options.epsilon, RATE, steps, DELTA)
    print(f"{m} handwritten digits, each in a batch with probability {RATE}; network 64-48-10, tanh; {steps} steps")
    print(f"noise multiplier {sigma:.3f}, for epsilon {options.epsilon:g} at delta {DELTA:g}; clipping norm {MAX_NORM}")

    private = bp.private_value_and_grad(NETWORK, MAX_NORM, sigma, RATE * m)
    not_private = bp.value_and_grad(NETWORK)

    def private_gradient(params, X, y, key, present):
        return private(params, X, y, key, present).gradient  # the cost beside it has no noise and must stay secret

    def plain_gradient(params, X, y, key, present):
        return not_private(params, X, y, present.astype(float))[1]

    def accuracy(params):
        return jnp.mean(jnp.argmax(bp.predict(NETWORK, params, X_test), axis=0) == y_test)

    private_accuracy = plain_accuracy = spent = 0.0
    for step, params in train(private_gradient, X, y, steps, options.seed):
        private_accuracy, spent = accuracy(params), bp.privacy.epsilon(sigma, RATE, step, DELTA)
        print(f"  step {step:{len(str(steps))}}: test accuracy {private_accuracy:.1%}, epsilon spent {spent:.2f}")
    for _, params in train(plain_gradient, X, y, steps, options.seed):
        plain_accuracy = accuracy(params)
    print(f"private      test accuracy {private_accuracy:.1%}, (epsilon, delta) = ({spent:.4f}, {DELTA:g})")
    print(f"not private  test accuracy {plain_accuracy:.1%}, same batches and optimizer, no clipping and no noise")


def train(gradient: Callable, X: jax.Array, y: jax.Array, steps: int, seed: int) -> Iterator[tuple[int, bp.Params]]:
    """Yield the number of steps taken and the parameters, ten times."""
    optimizer = optax.adam(optax.linear_schedule(LEARNING_RATE, 0, steps))
    init_key, steps_key = jax.random.split(jax.random.key(seed))

    def step(state, key):
        params, optimizer_state = state
        sample_key, noise_key = jax.random.split(key)
        indices, present = bp.privacy.poisson_sample(sample_key, len(y), RATE)
        grads = gradient(params, X[:, indices], y[indices], noise_key, present)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return (optax.apply_updates(params, updates), optimizer_state), None

    several = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys)[0])
    keys, every = jax.random.split(steps_key, steps), -(-steps // 10)
    params = bp.init(NETWORK, init_key)
    state = params, optimizer.init(params)
    for start in range(0, steps, every):
        state = several(state, keys[start : start + every])
        yield min(start + every, steps), state[0]


if __name__ == "__main__":
    main()
