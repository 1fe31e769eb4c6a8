"""Plant mistakes in hand-written backward passes, and count those that the gradient checker finds and names."""

from reference.checker_proof.proof import prove_checker
from reference.checker_proof.search.search import search_checker


def run() -> int:
    """Print both tables; return the number of mistakes that are missed and of correct passes called wrong."""
    proof, search = prove_checker(), search_checker()
    return len(proof.missed()) + len(proof.false_alarms) + len(search.failures())
