"""Moved to `midas_core.files`; here until every import has moved."""

from midas_core.files import *  # noqa: F403
