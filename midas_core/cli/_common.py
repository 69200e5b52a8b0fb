"""What the commands share: how they fail, and where they print."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from midas_core.text import printable

if TYPE_CHECKING:
    from rich.console import Console

SPELLED = {"±": "+-", "…": "...", "✓": "+", "✗": "x"}
"""What is written where a terminal has no such character; for any other, a question mark."""


class Failure(click.ClickException):
    """An error of the user's making or of the surroundings: a message, no traceback, exit status 2."""

    exit_code = 2


@contextmanager
def failing(*errors: type[Exception]) -> Iterator[None]:
    """Turn such errors into a `Failure`; a reader that has gone away is none: the command ends quietly."""
    try:
        yield
    except BrokenPipeError:
        raise
    except errors as error:
        raise Failure(printable(str(error), 2000)) from error


def make_console(width: int = 120, *, stderr: bool = False) -> Console:
    """Return a console for the terminal, or, where there is none and COLUMNS is not set, one of a fixed width."""
    from rich.console import Console

    console = Console(stderr=stderr)
    fixed = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(stderr=stderr, width=width) if fixed else console


def take_any_encoding() -> None:
    """Let the terminal take every text: what it has no character for is spelled out."""
    codecs.register_error("midas", _spell)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="midas")


def _spell(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(SPELLED.get(c, "?") for c in error.object[error.start : error.end]), error.end
