import pytest
from saved_files import Models, Trainings


@pytest.fixture(params=[Models(), Trainings()], ids=["model", "training"])
def kind(request):
    return request.param


@pytest.fixture
def path(kind, tmp_path):
    """A saved file, alone in its folder."""
    kind.save(tmp_path / "folder" / "file.safetensors")
    return tmp_path / "folder" / "file.safetensors"
