"""UPMC Food-101: recipes, a title and a photo (Wang et al., 2015).

The layout in which the set is passed on (Gallo et al., 2020): ``images/{train,test}/{class}/{class}_{n}.jpg`` and
``texts/{train,test}_titles.csv`` with the columns image, title, class and no header.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from benchmarks.paper.listing import Listing, Problem, Sample, files_in, make_listing, read_lines

LAYOUT = "images/{train,test}/{class}/{class}_{n}.jpg and texts/{train,test}_titles.csv"
SPLITS = ("train", "test")


def read(root: Path) -> Listing:
    """List the recipes. Each is a group of its own."""
    files_in(root, "images", LAYOUT)
    rows = {split: read_lines(root, f"texts/{split}_titles.csv", LAYOUT) for split in SPLITS}
    classes = sorted({path.name for split in SPLITS for path in files_in(root, f"images/{split}", LAYOUT)})
    return make_listing(root, LAYOUT, classes, _samples(root, rows, classes))


def _samples(root: Path, rows: dict[str, list[str]], classes: list[str]) -> Iterator[Sample | Problem]:
    labels = {name: label for label, name in enumerate(classes)}
    for split, lines in rows.items():
        number = 0
        try:
            for number, row in enumerate(csv.reader(lines), start=1):
                if len(row) != 3 or row[2] not in labels:
                    yield Problem(
                        f"{split}_titles.csv, row {number}", "expected image, title and a class with a folder"
                    )
                    continue
                image, title, name = row
                yield Sample(image, labels[name], (title, root / "images" / split / name / image), image)
        except csv.Error as error:
            yield Problem(f"{split}_titles.csv, after row {number}", f"expected rows, got {error}")
