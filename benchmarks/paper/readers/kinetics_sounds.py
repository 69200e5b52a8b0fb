"""Kinetics-Sounds: video and sound of everyday actions (Arandjelovic and Zisserman, 2017).

The clips of Kinetics-400 whose classes can be seen and heard, 31 of them in the paper, in the layout of the Kinetics
crawler: a folder for each split, one for each class, ``{YouTube id}_{start}_{end}.mp4``. Which classes those are is the
user's choice: the classes are the folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.paper.listing import Listing, Problem, Sample, files_in, make_listing

LAYOUT = "{split}/{class}/{id}_{start}_{end}.mp4"
SUFFIXES = {".mp4", ".mkv", ".webm"}


def read(root: Path) -> Listing:
    """List the clips. The group is the YouTube video."""
    folders = [path for split in files_in(root, ".", LAYOUT) if split.is_dir() for path in split.iterdir()]
    classes = sorted({path.name for path in folders if path.is_dir()})
    return make_listing(root, LAYOUT, classes, _samples(root, classes))


def _samples(root: Path, classes: list[str]) -> Iterator[Sample | Problem]:
    for path in sorted(root.glob("*/*/*")):
        if path.suffix.lower() not in SUFFIXES:
            yield Problem(str(path), f"expected one of {', '.join(sorted(SUFFIXES))}")
        else:
            # Eleven characters, among them perhaps an underscore.
            video = path.stem[:11]
            yield Sample(f"{path.parent.name}/{path.stem}", classes.index(path.parent.name), (path, path), video)
