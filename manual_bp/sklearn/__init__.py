"""Estimators with scikit-learn's interface (extra `sklearn`). As in scikit-learn, rows are examples."""

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "the estimators need scikit-learn: pip install 'manual_bp[sklearn]'", name="sklearn"
    ) from None

from manual_bp.sklearn._classifier import MLPClassifier as MLPClassifier
from manual_bp.sklearn._regressor import MLPRegressor as MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
