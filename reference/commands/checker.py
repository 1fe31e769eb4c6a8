"""Plant mistakes in hand-written backward passes, and count those that the gradient checker finds and names."""

from reference.checker_proof.beyond_dense.table import tabulate
from reference.checker_proof.proof import prove_checker
from reference.checker_proof.search.search import search_checker


def run() -> int:
    """Print the tables and return the number of missed mistakes and of correct passes called wrong.

    Beyond dense layers, a mistake is missed if it is not detected; a diagnosis there is only counted.
    """
    proof, beyond = prove_checker(), tabulate()
    print(f"\nBeyond dense layers:\n\n{beyond}")
    search = search_checker()
    missed = sum(o.verdict != "wrong" for o in beyond.outcomes)
    return len(proof.missed()) + len(proof.false_alarms) + missed + len(beyond.false_alarms()) + len(search.failures())
