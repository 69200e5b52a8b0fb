import pytest

from tests.benchmarks.paper.made import MAKERS


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """The folder with all data sets of the paper; nobody changes it."""
    root = tmp_path_factory.mktemp("sets")
    for name, make in MAKERS.items():
        make(root / name)
    return root
