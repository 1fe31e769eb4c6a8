import pytest


@pytest.fixture(autouse=True, scope="module")
def forms_of_a_cpu(on_cpu):
    """Computes on the CPU: its forms, its blocks and its cores are what is tested here."""
