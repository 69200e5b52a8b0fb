"""The methods that are compared, each short, from its paper, for comparison only."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.accuracy.methods.base import Method
from benchmarks.accuracy.methods.dropout import ModalityDropout
from benchmarks.accuracy.methods.joint import Joint, JointUnimodal
from benchmarks.accuracy.methods.midas import Midas

METHODS: Mapping[str, type[Method]] = {
    method.title: method for method in (Joint, JointUnimodal, ModalityDropout, Midas)
}
"""By title, in the order of the tables."""
