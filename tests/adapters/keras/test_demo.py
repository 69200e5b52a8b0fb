"""`midas demo --framework keras` trains every method by ``fit`` and prints the table of the PyTorch demo."""

import json

from click.testing import CliRunner

from midas_core.cli.main import main
from tests.adapters.keras.conftest import BACKEND


def test_demo(tmp_path):
    arguments = ["demo", "--framework", "keras", "--data", "halves", "--seeds", "1", "--epochs", "2", "--workers", "1"]
    result = CliRunner().invoke(main, [*arguments, "--output", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"Keras on {BACKEND}" in result.output
    content = json.loads((tmp_path / "results.json").read_text())
    methods = {run["method"] for run in content["tasks"][0]["runs"]}
    assert methods >= {"left alone", "late fusion", "joint", "joint + unimodal", "joint + dropout", "MIDAS"}
    assert all(run["test"]["accuracy"] > 0.2 for run in content["tasks"][0]["runs"])


def test_tuning_is_for_torch():
    result = CliRunner().invoke(main, ["demo", "--framework", "keras", "--tune"])
    assert result.exit_code == 2
    assert "--tune goes with --framework torch" in result.output
