"""The data a user brings: read right, or refused in one clear line."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manual_bp.__main__ import main
from manual_bp._command import data as datasets
from manual_bp._command.errors import InputError
from manual_bp._command.split import Scaling, stratified_split

# Six examples, three features, two classes
X = np.array([[0.5, 1, 7], [1.5, 2, 6], [-2.5e-3, 3, 5], [3.5, 4, 4], [1e10, 5, 3], [5.5, 6, 2]])
Y = np.array([0, 1, 0, 1, 0, 1])
TABLE = "age,height,weight,kind\n" + "".join(
    f"{a},{h},{w},{'yes' if y else 'no'}\n" for (a, h, w), y in zip(X.tolist(), Y, strict=True)
)


def save_npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def save_csv(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["data.npz", "DATA.NPZ"])
def test_npz_is_read(tmp_path, name):
    with open(tmp_path / name, "wb") as file:
        np.savez(file, X=X, y=Y)
    data = datasets.read(str(tmp_path / name))
    assert data.name == str(tmp_path / name)
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    np.testing.assert_array_equal(data.classes, [0, 1])


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE.replace("\n", "\r\n"),
        "\ufeff" + TABLE,
        TABLE.replace(",", " , "),
        TABLE.replace("\n", "\n\n"),
        TABLE.replace("kind", '"kind"').replace("yes", '"yes"'),
        TABLE.rstrip("\n"),
    ],
    ids=["plain", "windows line ends", "byte order mark", "spaces", "blank lines", "quotes", "no last line end"],
)
def test_csv_is_read(tmp_path, text):
    data = datasets.read(save_csv(tmp_path / "data.csv", text))
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    np.testing.assert_array_equal(data.classes, ["no", "yes"])


@pytest.mark.parametrize(
    ("header", "target", "chosen"),
    [
        ("a,b,c,d", None, "d"),
        ("a,label,c,d", None, "label"),
        ("y,label,c,d", None, "label"),
        ("y,label,target,d", None, "target"),
        ("y,b,c,d", None, "y"),
        ("y,b,c,d", "b", "b"),
        ("0,1,2,3", None, "3"),
    ],
)
def test_the_target_column_is_chosen_and_named(tmp_path, header, target, chosen):
    rows = [[1, 2, 1, 2], [1, 1, 2, 2], [2, 2, 1, 1], [2, 1, 2, 1]]
    path = save_csv(tmp_path / "data.csv", header + "\n" + "\n".join(",".join(map(str, row)) for row in rows))
    data = datasets.read(path, target)
    t = header.split(",").index(chosen)
    assert data.name == f"{path}, target column {chosen!r}"
    np.testing.assert_array_equal(data.X, np.delete(rows, t, axis=1))
    assert data.classes is not None
    np.testing.assert_array_equal(data.classes[data.y], np.array(rows)[:, t])


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (np.array([7, -3, 7, 20, -3, 20]), [-3, 7, 20], [1, 0, 1, 2, 0, 2]),
        (np.array(["b", "a", "b", "a", "a", "b"]), ["a", "b"], [1, 0, 1, 0, 0, 1]),
        (np.array([2.0, 1.0, 2.0, 1.0, 1.0, 2.0]), [1, 2], [1, 0, 1, 0, 0, 1]),
        (np.array([True, False, True, False, True, False]), [False, True], [1, 0, 1, 0, 1, 0]),
        (np.array([200, 3, 200, 3, 3, 200], np.uint8), [3, 200], [1, 0, 1, 0, 0, 1]),
    ],
    ids=["integers", "text", "whole floats", "booleans", "bytes"],
)
def test_labels_become_indices_of_sorted_classes(tmp_path, labels, classes, indices):
    data = datasets.read(save_npz(tmp_path / "data.npz", X=X, y=labels))
    np.testing.assert_array_equal(data.classes, classes)
    np.testing.assert_array_equal(data.y, indices)


def test_csv_labels_that_are_numbers_sort_as_numbers(tmp_path):
    path = save_csv(tmp_path / "data.csv", "a,y\n1,10\n2,9\n3,10\n4,9\n")
    np.testing.assert_array_equal(datasets.read(path).classes, [9, 10])


def with_nan(value: float) -> np.ndarray:
    return np.where(np.arange(18).reshape(6, 3) == 8, value, X)


BAD_NPZ = {
    "no X": ({"x": X, "y": Y}, "has no array X; expected X and y, found 'x', 'y'"),
    "no y": ({"X": X}, "has no array y; expected X and y, found 'X'"),
    "nothing": ({}, "has no array X; expected X and y, found none"),
    "length": ({"X": X, "y": Y[:5]}, "X has shape (6, 3) and y (5,); expected a label for each row of X"),
    "transposed": (
        {"X": X.T, "y": Y},
        "X has shape (3, 6) and y (6,); expected a label for each row of X: rows are examples, so save X.T",
    ),
    "one-hot": ({"X": X, "y": np.eye(6)}, "X has shape (6, 3) and y (6, 6); expected a label for each row of X"),
    "images": (
        {"X": X.reshape(2, 3, 3), "y": Y[:2]},
        "X has shape (2, 3, 3); expected (examples, features), at least one of each: save X.reshape(len(X), -1)",
    ),
    "flat": ({"X": X[0], "y": Y}, "X has shape (3,); expected (examples, features), at least one of each"),
    "no examples": (
        {"X": X[:0], "y": Y[:0]},
        "X has shape (0, 3); expected (examples, features), at least one of each",
    ),
    "objects": ({"X": X.astype(object), "y": Y}, "X is an array of Python objects; expected numbers, or text for y"),
    "object labels": (
        {"X": X, "y": np.array(["a", 1] * 3, object)},
        "y is an array of Python objects; expected numbers, or text for y",
    ),
    "text": ({"X": X.astype("U8"), "y": Y}, "X has dtype <U8; expected numbers"),
    "complex": ({"X": X * 1j, "y": Y}, "X has dtype complex128; expected numbers"),
    "bytes": ({"X": X, "y": Y.astype("S1")}, "y has dtype |S1; expected class labels, integers or text"),
    "NaN": ({"X": with_nan(np.nan), "y": Y}, "X[2, 2]: nan is not a finite float32 number"),
    "infinity": ({"X": with_nan(-np.inf), "y": Y}, "X[2, 2]: -inf is not a finite float32 number"),
    "huge": ({"X": with_nan(1.5e300), "y": Y}, "X[2, 2]: 1.5e+300 is not a finite float32 number"),
    "NaN label": ({"X": X, "y": np.where(Y, np.nan, 0)}, "y[1]: nan is not a class label; expected integers or text"),
    "continuous": (
        {"X": X, "y": Y + 0.25},
        "y[0]: 0.25 is not a class label; expected integers or text (a continuous target: give --regression)",
    ),
    "empty label": ({"X": X, "y": np.array(["a", "b", "", "a", "b", "a"])}, "y[2]: the class label is missing"),
    "one class": ({"X": X, "y": 0 * Y}, "every example is of class 0; expected two classes or more"),
    "a single example": (
        {"X": X, "y": np.array([1, 1, 1, 30, 2, 2])},
        "class 30 has a single example; expected two or more, to train and to test on",
    ),
    "constant": ({"X": 0 * X + [1, 2, 3], "y": Y}, "every feature is constant: there is nothing to learn from"),
}

BAD_CSV = {
    "empty": ("", "the file is empty"),
    "blank": ("\ufeff\r\n\r\n", "the file is empty"),
    "header only": ("a,b,y\n", "a header and no rows; expected a row for each example"),
    "no header": (
        "5.1,3.5,setosa\n4.9,3.0,setosa\n",
        "the first row holds '5.1'; expected a header row with the names of the columns",
    ),
    "same name": ("0,3,0,1\n0,4,0,1\n", "two columns are named '0'; expected a header row with distinct names"),
    "row index": (
        ",a,y\n0,1.5,1\n",
        "column 1 has no name in the header (a saved row index?); expected a name for each",
    ),
    "semicolons": ("a;y\n1;2\n", "one column, 'a;y'; expected features and a target, separated by commas"),
    "short row": ("a,b,y\n1,2,0\n1,2\n", "line 3: expected 3 fields, as in the header; found 2"),
    "long row": ("a,b,y\n\n1,2,0,4\n", "line 3: expected 3 fields, as in the header; found 4"),
    "not a number": (TABLE.replace("1.5,", "abc,"), "column 'age', line 3: 'abc' is not a number"),
    "after the target": ("a,y,b\n1,p,2\n1,q,x\n", "column 'b', line 3: 'x' is not a number"),
    "missing value": (
        TABLE.replace(",4.0,4.0", ",4.0,"),
        "column 'weight', line 5: no value; fill it in, or leave the row out",
    ),
    "underscore": (TABLE.replace("1.5,", "1_5,"), "column 'age', line 3: '1_5' is not a number"),
    "NaN": (TABLE.replace("1.5,", "NaN,"), "column 'age', line 3: nan is not a finite float32 number"),
    "infinity": (TABLE.replace("2.0,6.0", "inf,6.0"), "column 'height', line 3: inf is not a finite float32 number"),
    "overflow": (TABLE.replace("1.5,", "1e999,"), "column 'age', line 3: inf is not a finite float32 number"),
    "missing label": (TABLE.replace("4.0,4.0,yes", "4.0,4.0,"), "column 'kind', line 5: the class label is missing"),
    "continuous": (
        "a,price\n1,12\n2,12.5\n",
        "column 'price', line 3: 12.5 is not a class label; expected integers or text "
        "(a continuous target: give --regression)",
    ),
    "one class": ("a,y\n1,no\n2,no\n", "every example is of class 'no'; expected two classes or more"),
    "a single example": (
        TABLE.replace("7.0,no", "7.0,maybe"),
        "class 'maybe' has a single example; expected two or more, to train and to test on",
    ),
    "Latin-1": (TABLE.replace("age", "âge").encode("latin-1"), "the text is not in UTF-8"),
    "open quote": ('a,y\n1,"no\n2,no\n', "line 3: unexpected end of data"),
}


BAD_VALUES = {
    "text": (TABLE, "column 'kind', line 2: 'no' is not a number; expected numbers, for --regression"),
    "missing": (
        TABLE.replace("7.0,no", "7.0,"),
        "column 'kind', line 2: '' is not a number; expected numbers, for --regression",
    ),
    "NaN": ("a,y\n1,2\n2,nan\n", "column 'y', line 3: nan is not a finite float32 number"),
    "constant": ("a,y\n1,2.5\n2,2.5\n", "every target is 2.5: there is nothing to learn"),
    "few": ("a,y\n1,2\n2,3\n", "2 examples; expected 10 or more, to train and to test on"),
}


def refusal(argv: list[str], capsys: pytest.CaptureFixture) -> str:
    """The one line on stderr of a run that ends with exit status 2 before it has printed anything."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("manual_bp: error: ") and err.endswith("\n") and err.count("\n") == 1
    return err.removeprefix("manual_bp: error: ").removesuffix("\n")


@pytest.mark.parametrize(("arrays", "message"), BAD_NPZ.values(), ids=BAD_NPZ)
def test_bad_npz_is_refused_in_one_line(tmp_path, capsys, arrays, message):
    path = save_npz(tmp_path / "data.npz", **arrays)
    assert refusal(["--data", path], capsys) == f"{path}: {message}"


@pytest.mark.parametrize(("text", "message"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv_is_refused_in_one_line(tmp_path, capsys, text, message):
    path = save_csv(tmp_path / "data.csv", text)
    assert refusal(["--data", path], capsys) == f"{path}: {message}"


@pytest.mark.parametrize(("text", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_values_are_refused_in_one_line(tmp_path, capsys, text, message):
    path = save_csv(tmp_path / "data.csv", text)
    assert refusal(["--regression", "--data", path], capsys) == f"{path}: {message}"


def test_values_that_are_equal_in_training_are_refused(tmp_path, capsys):
    y = np.full(10, 2)
    y[stratified_split(y, seed=0)[1]] = 3
    path = save_npz(tmp_path / "data.npz", X=np.arange(20.0).reshape(10, 2), y=y)
    assert main(["--regression", "--data", path]) == 2
    message = "every training target of seed 0 is 2: there is nothing to learn"
    assert capsys.readouterr().err == f"manual_bp: error: {message}\n"


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.where(Y, np.inf, 0.5), "y[1]: inf is not a finite float32 number"),
        (Y.astype("S1"), "y has dtype |S1; expected numbers"),
    ],
)
def test_bad_values_of_an_npz_are_refused_in_one_line(tmp_path, capsys, y, message):
    path = save_npz(tmp_path / "data.npz", X=X, y=y)
    assert refusal(["--regression", "--data", path], capsys) == f"{path}: {message}"


def test_an_unknown_target_is_refused_with_the_columns(tmp_path, capsys):
    path = save_csv(tmp_path / "data.csv", TABLE)
    message = f"{path}: has no column 'Kind'; expected one of 'age', 'height', 'weight', 'kind'"
    assert refusal(["--data", path, "--target", "Kind"], capsys) == message


@pytest.mark.parametrize("name", ["missing.npz", "missing.csv", "missing"])
def test_a_missing_file_is_refused_in_one_line(tmp_path, capsys, name):
    path = str(tmp_path / name)
    assert refusal(["--data", path], capsys) == f"{path}: no such file or directory"


@pytest.mark.parametrize("name", ["folder", "folder.csv", "folder.npz"])
def test_a_directory_is_refused_in_one_line(tmp_path, capsys, name):
    (tmp_path / name).mkdir()
    assert refusal(["--data", str(tmp_path / name)], capsys) == f"{tmp_path / name}: is a directory"


@pytest.mark.parametrize("name", ["data.txt", "data", "npz"])
def test_an_unknown_suffix_is_refused_in_one_line(tmp_path, capsys, name):
    path = save_csv(tmp_path / name, TABLE)
    assert refusal(["--data", path], capsys) == f"{path}: expected a file named .npz or .csv"


def test_an_empty_npz_is_refused_in_one_line(tmp_path, capsys):
    path = save_csv(tmp_path / "data.npz", "")
    assert refusal(["--data", path], capsys) == f"{path}: the file is empty"


def test_text_named_npz_is_refused_in_one_line(tmp_path, capsys):
    path = save_csv(tmp_path / "data.npz", TABLE)
    assert refusal(["--data", path], capsys) == f"{path}: not an .npz file, or a damaged one"


def test_an_npy_named_npz_is_refused_in_one_line(tmp_path, capsys):
    path = tmp_path / "data.npz"
    with open(path, "wb") as file:
        np.save(file, X)
    message = f"{path}: holds a single array; expected an .npz with X and y, as np.savez(file, X=X, y=y) writes"
    assert refusal(["--data", str(path)], capsys) == message


def test_a_damaged_npz_is_refused_in_one_line_or_read_right(tmp_path):
    path = tmp_path / "data.npz"
    whole = Path(save_npz(path, X=X, y=Y)).read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:n] for n in range(1, len(whole), 29)]
    damaged += [whole[:i] + rng.bytes(5) + whole[i + 5 :] for i in range(0, len(whole), 7)]
    refused = 0
    for contents in damaged:
        path.write_bytes(contents)
        try:
            # Archives have fields that nothing depends on
            np.testing.assert_array_equal(datasets.read(str(path)).X, X)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            refused += 1
    assert refused > 0.8 * len(damaged)


def test_without_scikit_learn_the_digits_are_refused_in_one_line(capsys, monkeypatch):
    for name in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    assert refusal([], capsys) == "the digits come with scikit-learn: pip install 'manual_bp[sklearn]'"


def test_the_split_holds_out_a_fifth_of_each_class():
    y = np.repeat([0, 1, 2, 3], [103, 50, 7, 2])
    train, test = stratified_split(y, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
    np.testing.assert_array_equal(np.bincount(y[test]), [21, 10, 1, 1])


def test_the_split_is_made_by_the_seed():
    y = np.repeat([0, 1], [60, 40])
    np.testing.assert_array_equal(stratified_split(y, seed=4)[1], stratified_split(y, seed=4)[1])
    assert set(stratified_split(y, seed=4)[1]) != set(stratified_split(y, seed=5)[1])


def test_a_class_of_two_or_one_leaves_one_to_train_on():
    train, test = stratified_split(np.array([0, 1, 1, 2, 2, 2]), seed=0)
    np.testing.assert_array_equal(np.array([0, 1, 1, 2, 2, 2])[train], [0, 1, 2, 2])
    assert len(test) == 2


def test_features_are_scaled_by_the_training_part_alone():
    scaling = Scaling.of(X[:4])
    train = scaling(X[:4])
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(train.std(axis=0), 1, rtol=1e-15)
    np.testing.assert_allclose(scaling(X[4:]), (X[4:] - X[:4].mean(axis=0)) / X[:4].std(axis=0), rtol=1e-15)
    np.testing.assert_allclose(scaling.back(scaling(X)), X, rtol=1e-13)


def test_a_feature_that_is_constant_in_training_becomes_zero():
    # The mean of 0.1 over three is not 0.1 in floating point
    scaling = Scaling.of(np.array([[0.1, 1], [0.1, 2], [0.1, 3]]))
    np.testing.assert_array_equal(scaling(np.array([[0.1, 1], [0.1, 3]]))[:, 0], 0)
    np.testing.assert_array_equal(scaling(np.array([[5.0, 2]])), [[0, 0]])
