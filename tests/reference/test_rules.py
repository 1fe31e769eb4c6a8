"""The command that checks rules of released packages, on those that the tests have."""

import jax
import jax.numpy as jnp
import numpy as np

from reference.checker_proof.packaged_rules import RULES, PackagedRule
from reference.commands import rules

SCALE_GRADIENT = next(rule for rule in RULES if rule.name == "optax.scale_gradient")


def made_with(custom_vjp, slope):
    """A square root with a rule of its own, imported as jax.custom_vjp."""
    root = custom_vjp(jnp.sqrt)
    root.defvjp(lambda x: (jnp.sqrt(x), x), lambda x, g: (slope * g / jnp.sqrt(x),))
    return root, (np.array([0.5, 2.0, 3.0]),)


def test_a_rule_is_judged_by_the_checker_and_by_central_differences():
    right = rules.check(PackagedRule("jax.custom_vjp", lambda f: made_with(f, 0.5)))
    assert right.package == f"jax {jax.__version__}" and right.says.startswith("right") and right.surprise() == ""
    assert right.error is not None and 0 < right.error <= 1e-8
    scaled = rules.check(SCALE_GRADIENT)
    assert scaled.says.startswith("wrong: dX (") and scaled.surprise() == ""
    assert scaled.error is not None and abs(scaled.error - 0.7) <= 1e-8
    assert scaled.row().startswith("| optax ") and SCALE_GRADIENT.remark in scaled.row()


def test_surprises():
    right = rules.check(PackagedRule("jax.custom_vjp", lambda f: made_with(f, 0.5)))
    assert right._replace(says="wrong: dx (unknown)").surprise() == "central differences agree"
    assert right._replace(error=0.1).surprise() == "central differences differ"
    gone = rules.check(PackagedRule("jax.no_such_function", lambda f: (f, ())))
    assert gone.surprise() == "no report" and gone.says.startswith("AttributeError")


def test_the_table_is_written_if_no_package_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(rules, "PAGE", tmp_path / "rules.md")
    page = f"# Rules\n\n{rules.HEADER}\n| old | row | | | |\n\nMore.\n"
    rules.PAGE.write_text(page)
    absent = PackagedRule("no_such_package.f", lambda f: (f, ()))
    monkeypatch.setattr(rules, "RULES", (SCALE_GRADIENT, absent))
    assert rules.run() == 0
    assert (
        rules.PAGE.read_text() == page and "Not installed, so not checked: no_such_package" in capsys.readouterr().out
    )
    monkeypatch.setattr(rules, "RULES", (SCALE_GRADIENT,))
    assert rules.run() == 0
    text = rules.PAGE.read_text()
    assert "| old |" not in text and text.startswith("# Rules\n\n| package") and text.endswith("|\n\nMore.\n")
    assert "`scale_gradient` | wrong: dX (" in text
