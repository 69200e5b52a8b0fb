"""CREMA-D: actors who speak sentences in six emotions, video and sound (Cao et al., 2014).

The layout of the repository CheyneyComputerScience/CREMA-D: ``VideoFlash/1001_DFA_ANG_XX.flv`` and
``AudioWAV/1001_DFA_ANG_XX.wav``, the name made of actor, sentence, emotion and level.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.paper.listing import Listing, Problem, Sample, files_in, make_listing

LAYOUT = "{VideoFlash,AudioWAV}/{actor}_{sentence}_{emotion}_{level}.{flv,wav}"
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")

_NAME = re.compile(r"(\d{4})_[A-Z]+_([A-Z]{3})_[A-Z]+")


def read(root: Path) -> Listing:
    """List the clips. The group is the actor."""
    names = {
        path.stem
        for folder, suffix in (("VideoFlash", ".flv"), ("AudioWAV", ".wav"))
        for path in files_in(root, folder, LAYOUT)
        if path.suffix == suffix
    }
    return make_listing(root, LAYOUT, EMOTIONS, _samples(root, sorted(names)))


def _samples(root: Path, names: list[str]) -> Iterator[Sample | Problem]:
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or match[2] not in EMOTIONS:
            yield Problem(name, "expected a name such as 1001_DFA_ANG_XX")
        else:
            sources = (root / "AudioWAV" / f"{name}.wav", root / "VideoFlash" / f"{name}.flv")
            yield Sample(name, EMOTIONS.index(match[2]), sources, match[1])
