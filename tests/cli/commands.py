"""Commands, run in this process."""

from click.testing import CliRunner

from midas_core.cli.main import main


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def fails(*arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    words = " ".join(result.output.split())
    for each in said:
        assert each in words
    return result
