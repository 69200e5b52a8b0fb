"""The command ``midas``. Each subcommand lives beside what it runs and imports what is heavy only then."""

from __future__ import annotations

try:
    import click
except ModuleNotFoundError:
    import sys

    print("click is not installed: pip install 'midas-multimodal[demo]'", file=sys.stderr)
    raise SystemExit(2) from None

from midas_core import __version__
from midas_core.benchmarks.command import bench
from midas_core.demo.command import demo
from midas_core.report.command import report
from midas_core.verify.command import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="midas")
def main() -> None:
    """MIDAS for imbalanced multimodal learning."""


main.add_command(bench)
main.add_command(demo)
main.add_command(report)
main.add_command(verify)
