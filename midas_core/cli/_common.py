"""What the commands share: how they fail, and where they print."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


class Failure(click.ClickException):
    """An error of the user's making or of the surroundings: a message, no traceback, exit status 2."""

    exit_code = 2


def make_console(width: int = 120) -> Console:
    """Return a console for the terminal; where there is none, one of a fixed width, so that tables keep their rows."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=width)
