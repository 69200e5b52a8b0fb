"""Errors and output of the commands."""

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
"""Replacements for characters that a terminal lacks; others become a question mark."""


class Failure(click.ClickException):
    """Error in the input or the environment: a message without traceback, exit status 2."""

    exit_code = 2


@contextmanager
def failing(*errors: type[Exception]) -> Iterator[None]:
    """Turn such errors into a `Failure`; a closed pipe ends the command quietly."""
    try:
        yield
    except BrokenPipeError:
        raise
    except errors as error:
        raise Failure(printable(str(error), 2000)) from error


def make_console(width: int = 120, *, stderr: bool = False) -> Console:
    """Return a console for the terminal; without a terminal and COLUMNS it has a fixed width."""
    from rich.console import Console

    console = Console(stderr=stderr)
    fixed = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(stderr=stderr, width=width) if fixed else console


def take_any_encoding() -> None:
    """Spell out characters that the terminal cannot print."""
    codecs.register_error("midas", _spell)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="midas")


def _spell(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(SPELLED.get(c, "?") for c in error.object[error.start : error.end]), error.end
