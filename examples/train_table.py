"""Train on a table with numbers, text and gaps, and predict with the saved pipeline.

    python examples/train_table.py titanic.csv --target survived --out titanic.joblib
    python examples/train_table.py new.csv --model titanic.joblib > predictions.csv

It needs the extra sklearn, and pandas. The encoding is scikit-learn's; the estimator that ends the pipeline is ours.
A column of numbers is scaled, its gaps are filled with the median, and another column marks them. A column of text
becomes one column for each value; a gap is a value of its own, and values seen fewer than ten times share a column.
All of this is learnt inside each fold of the cross-validation, from its training rows alone.

A .joblib file runs code when it is loaded. Load only files that you trust, with the versions that wrote them. To pass a
trained network on, save it with bp.save (see docs/saving.md).
"""

import argparse
import sys
from typing import Any

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from manual_bp.sklearn import MLPClassifier, MLPRegressor


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train on a .csv file with a header row, or predict for its rows.")
    parser.add_argument("table", metavar="FILE.csv", help="the rows to train on, or to predict for")
    parser.add_argument("--target", metavar="COLUMN", help="the column to learn (default: the last)")
    parser.add_argument("--regression", action="store_true", help="the target is a number, not a class")
    parser.add_argument("--out", metavar="FILE.joblib", help="save the pipeline, trained on all rows")
    parser.add_argument("--model", metavar="FILE.joblib", help="predict with this pipeline instead of training")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(argv)

    table = read(options.table)
    if options.model:
        saved = joblib.load(options.model)
        table[f"predicted {saved['target']}"] = saved["pipeline"].predict(table)
        table.to_csv(sys.stdout, index=False)
        return

    target = options.target or table.columns[-1]
    if target not in table.columns:
        parser.error(f"no column is called {target!r}; the columns are {', '.join(table.columns)}")
    table = table.dropna(subset=[target])
    X, y = table.drop(columns=target), table[target].to_numpy()
    text, gaps = X.select_dtypes(exclude="number").columns, X.isna().to_numpy().mean()
    print(f"{len(X)} rows; {len(X.columns) - len(text)} columns of numbers, {len(text)} of text; {gaps:.1%} gaps")

    pipeline, baseline = pipelines(options.regression, options.seed)
    measure = "R²" if options.regression else "accuracy"
    folds = (KFold if options.regression else StratifiedKFold)(5, shuffle=True, random_state=options.seed)
    for name, estimator in {"the network": pipeline, "a constant": baseline}.items():
        scores = cross_val_score(estimator, X, y, cv=folds)
        print(f"{measure} of {name}, five folds: {scores.mean():.3f}, from {scores.min():.3f} to {scores.max():.3f}")
    if options.out:
        joblib.dump({"pipeline": pipeline.fit(X, y), "target": target}, options.out)
        print(f"saved to {options.out}; load it only where you trust it, since loading a .joblib file runs code")


def read(path: str) -> pd.DataFrame:
    """Return the table; columns of text, dates or truth values become objects, which the encoder takes as they are."""
    table = pd.read_csv(path)
    text = table.select_dtypes(exclude="number").columns
    return table.astype(dict.fromkeys(text, object))


def pipelines(regression: bool, seed: int) -> tuple[Pipeline, DummyClassifier | DummyRegressor]:
    """Return the pipeline, and the best constant guess."""
    encoder = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
                make_column_selector(dtype_include="number"),
            ),
            (
                "text",
                OneHotEncoder(min_frequency=10, handle_unknown="infrequent_if_exist", sparse_output=False),
                make_column_selector(dtype_exclude="number"),
            ),
        ]
    )
    options: dict[str, Any] = {"hidden_layer_sizes": (32,), "alpha": 1e-3, "dropout": 0.1, "learning_rate_init": 0.003}
    options |= {"max_iter": 500, "early_stopping": True, "random_state": seed}
    if not regression:
        return make_pipeline(encoder, MLPClassifier(**options)), DummyClassifier()
    scaled = TransformedTargetRegressor(MLPRegressor(**options), transformer=StandardScaler())
    return make_pipeline(encoder, scaled), DummyRegressor()


if __name__ == "__main__":
    main()
