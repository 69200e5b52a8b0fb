"""Modalities in a list, a tuple or a dict: their order, their names, and what does not fit."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest

from midas_core.modalities import Modalities


class Both(NamedTuple):
    audio: int
    video: int


NAMED = Modalities({"audio": 1, "video": 2}, "features")
LISTED = Modalities([1, 2], "features")


def test_names_and_order():
    assert (NAMED.names, NAMED.count) == (("audio", "video"), 2)
    assert (LISTED.names, LISTED.count) == (None, 2)
    assert Modalities((1, 2, 3), "features").count == 3
    # The order in which the names were given first holds from then on.
    assert NAMED.unpack({"video": "v", "audio": "a"}, "features") == ["a", "v"]
    assert NAMED.unpack(["a", "v"], "features") == ["a", "v"]
    assert LISTED.unpack(("a", "v"), "features") == ["a", "v"]


def test_titles():
    assert [NAMED.title(m) for m in range(2)] == ["modality 'audio'", "modality 'video'"]
    assert [LISTED.title(m) for m in range(2)] == ["modality 0", "modality 1"]


def test_items_come_back_in_the_structure_that_was_given():
    assert NAMED.pack(["a", "v"], {"video": 0, "audio": 0}) == {"audio": "a", "video": "v"}
    assert list(NAMED.pack(["a", "v"], OrderedDict(video=0, audio=0))) == ["video", "audio"]
    assert LISTED.pack(["a", "v"], {"x": 0, "y": 0}) == {"x": "a", "y": "v"}
    assert NAMED.pack(["a", "v"], (0, 0)) == ("a", "v")
    assert LISTED.pack(["a", "v"], Both(0, 0)) == Both("a", "v")
    assert type(LISTED.pack(["a", "v"], Both(0, 0))) is Both
    assert LISTED.pack(("a", "v"), [0, 0]) == ["a", "v"]


WRONG = {
    "heads: expected a list, a tuple or a dict by modality name, got int": lambda: Modalities(3, "heads"),
    "heads: expected a list, a tuple or a dict by modality name, got str": lambda: Modalities("ab", "heads"),
    "heads: expected a list, a tuple or a dict by modality name, got bytes": lambda: Modalities(b"ab", "heads"),
    "heads: expected a list, a tuple or a dict by modality name, got ndarray": lambda: Modalities(
        np.zeros((2, 3)), "heads"
    ),
    "heads: expected two or more modalities, got 1": lambda: Modalities([1], "heads"),
    "heads: expected two or more modalities, got 0": lambda: Modalities({}, "heads"),
    "x: expected names as keys, got [0, 1]": lambda: LISTED.unpack({0: 1, 1: 2}, "x"),
    (
        "x: expected a list or tuple of 2 modalities, because the modalities were given without names, got a dict with "
        "['audio', 'video']"
    ): lambda: LISTED.unpack({"video": 1, "audio": 2}, "x"),
    "x: expected the modalities ['audio', 'video'], got ['audio', 'text']": lambda: NAMED.unpack(
        {"audio": 1, "text": 2}, "x"
    ),
    "x: expected a list, a tuple or a dict by modality name, got NoneType": lambda: NAMED.unpack(None, "x"),
    "x: expected 2 modalities, got 3": lambda: NAMED.unpack([1, 2, 3], "x"),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit(message):
    with pytest.raises((TypeError, ValueError)) as error:
        WRONG[message]()
    assert str(error.value) == message


def test_kinds_of_errors():
    with pytest.raises(TypeError):
        Modalities(3, "heads")
    with pytest.raises(ValueError, match="two or more"):
        Modalities([1], "heads")
    with pytest.raises(TypeError):
        LISTED.unpack({0: 1, 1: 2}, "x")
    with pytest.raises(ValueError, match="the modalities"):
        NAMED.unpack({"audio": 1}, "x")
