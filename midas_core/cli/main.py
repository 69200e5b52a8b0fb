"""The command ``midas``. Subcommands import heavy modules when they run."""

from __future__ import annotations

import click

from midas_core import __version__
from midas_core.cli._common import take_any_encoding
from midas_core.cli.compare import compare
from midas_core.cli.demo import demo
from midas_core.cli.report import report
from midas_core.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="midas")
def main() -> None:
    """MIDAS for imbalanced multimodal learning."""
    take_any_encoding()


main.add_command(compare)
main.add_command(demo)
main.add_command(report)
main.add_command(verify)
