"""Advice on a transposed line that may be meant."""

from manual_bp.checker.diagnose.evidence import Finding
from manual_bp.checker.judge.cut_graph import Arrays


def with_layout_advice(name: str, finding: Finding, found: Arrays) -> Finding:
    """Say how to tell a convention from a mistake, if no returned line shows by its shape that there is none."""
    shapes = [line.shape for line in found.values() if line.ndim == 2 and min(line.shape) > 1]
    if finding.mistake != "transposed" or not all(shape == shape[::-1] for shape in shapes):
        return finding
    alone = f"one square line does not show that d{name} is stored transposed on purpose"
    advice = f"{alone}: return a second line that is, or check with sizes that differ"
    return finding._replace(diagnosis=f"{finding.diagnosis}; {advice}")
