"""Compare the estimators of manual_bp with scikit-learn's on real data: scores on test data, and seconds to fit."""

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

SEEDS, DATA = range(5), ("digits", "breast_cancer", "wine", "diabetes")
# the second is the first in half the precision, and is not in scikit-learn
VARIANTS: dict[str, dict[str, Any]] = {"adam": {}, "adam, float32": {"dtype": "float32"}, "lbfgs": {"solver": "lbfgs"}}


class Row(NamedTuple):
    """The results for one data set and one way to train, over the seeds.

    Attributes:
        theirs, ours: the accuracy, or R^2, on the test data, for each seed of split, initial weights and order.
        seconds: the seconds to fit: scikit-learn's, ours with compilation, and ours without.
    """

    data: str
    variant: str
    theirs: np.ndarray
    ours: np.ndarray
    seconds: tuple[float, float, float]

    def difference(self) -> tuple[float, float]:
        """Return the mean of ours - theirs over the seeds, and half its 95 % interval by Student's t."""
        from scipy.stats import t

        d = self.ours - self.theirs
        return float(d.mean()), float(t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5)

    def equal(self) -> bool:
        """Return whether the difference is within its own noise or that of a split."""
        mean, half = self.difference()
        return abs(mean) <= max(half, self.theirs.std(ddof=1))

    def __str__(self) -> str:
        mean, half = self.difference()
        scores = "  ".join(f"{s.mean():.4f} ± {s.std(ddof=1):.4f}" for s in (self.theirs, self.ours))
        seconds = "  ".join(f"{s:7.2f}" for s in self.seconds)
        interval = f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"
        return f"{self.data:14s} {self.variant:14s} {scores}  {interval:27s}  {seconds}"


HEADER = (
    f"{'':29s} {'score on the test data':33s}  {'difference':27s}  {'seconds to fit':>25s}\n"
    f"{'data':14s} {'solver':14s} {'scikit-learn':15s}  {'manual_bp':15s}  {'ours - theirs [95 %]':27s}  "
    f"{'theirs':>7s}  {'first':>7s}  {'later':>7s}"
)


def run() -> int:
    """Print the rows, and return how many differ by more than noise."""
    from sklearn import __version__

    whose = f"of manual_bp and of scikit-learn {__version__}"
    print(f"MLPClassifier (accuracy) and MLPRegressor (R^2) {whose}: standardised")
    print(f"data, a quarter of them to test on, default parameters; mean ± standard deviation of {len(SEEDS)} seeds\n")
    print(HEADER)
    different = 0
    for row in rows():
        different += not row.equal()
        print(row, "" if row.equal() else "  DIFFERENT", flush=True)
    print(f"\n{different} differ by more than noise")
    return different


def rows(seeds: Sequence[int] = SEEDS, data: Sequence[str] = DATA) -> Iterator[Row]:
    """Train and score each variant on each data set."""
    from sklearn import datasets
    from sklearn import neural_network as theirs

    from manual_bp import sklearn as ours

    for name in data:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        estimator = "MLPRegressor" if name == "diabetes" else "MLPClassifier"
        for variant, options in VARIANTS.items():
            fits = []
            for seed in seeds:
                split = _split(X, y, seed, estimator == "MLPRegressor")
                common = {k: v for k, v in options.items() if k != "dtype"} | {"random_state": seed}
                both = getattr(theirs, estimator)(**common), getattr(ours, estimator)(**options, random_state=seed)
                fits.append([_fit(model, *split) for model in both])
            scores, seconds = np.moveaxis(np.array(fits), -1, 0)
            later = float(np.median(seconds[1:, 1])) if len(seconds) > 1 else np.nan
            times = float(np.median(seconds[:, 0])), float(seconds[0, 1]), later
            yield Row(name, variant, scores[:, 0], scores[:, 1], times)


def _split(X: np.ndarray, y: np.ndarray, seed: int, regression: bool) -> list[np.ndarray]:
    """Split the data into X and y to train on and to test on."""
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    parts = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=None if regression else y)
    X, X_test, y, y_test = map(np.asarray, parts)
    scale = StandardScaler().fit(X)
    if regression:
        y, y_test = (y - y.mean()) / y.std(), (y_test - y.mean()) / y.std()
    return [np.asarray(x) for x in (scale.transform(X), y, scale.transform(X_test), y_test)]


def _fit(estimator: Any, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray) -> tuple[float, float]:
    """Return the score on the test data, and the seconds to train."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - start
    return float(estimator.score(X_test, y_test)), seconds
