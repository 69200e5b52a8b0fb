"""Twitter2015: what a tweet with an image says of one of its names (Yu and Jiang, 2019).

The layout of the repository jefferyYu/TomBERT: ``twitter2015/{train,dev,test}.tsv`` with the columns index, label,
image, tweet with ``$T$`` in the place of the name, name; images in ``twitter2015_images/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.paper.listing import Listing, Problem, Sample, files_in, make_listing, read_lines

LAYOUT = "twitter2015/{train,dev,test}.tsv and twitter2015_images/{image}.jpg"
CLASSES = ("negative", "neutral", "positive")


def read(root: Path) -> Listing:
    """List the names of all tweets. The group is the image: a tweet with three names is there three times."""
    files_in(root, "twitter2015_images", LAYOUT)
    lines = {split: read_lines(root, f"twitter2015/{split}.tsv", LAYOUT) for split in ("train", "dev", "test")}
    return make_listing(root, LAYOUT, CLASSES, _samples(root, lines))


def _samples(root: Path, files: dict[str, list[str]]) -> Iterator[Sample | Problem]:
    for split, lines in files.items():
        for number, line in enumerate(lines[1:], start=2):
            cells = line.split("\t")
            if len(cells) != 5 or cells[1] not in ("0", "1", "2"):
                yield Problem(f"{split}.tsv, line {number}", "expected index, label 0 to 2, image, tweet and name")
                continue
            index, label, image, tweet, name = cells
            # The name once more after the tweet says which one is meant.
            text = f"{tweet.replace('$T$', name)} [SEP] {name}"
            yield Sample(f"{split}/{index}", int(label), (text, root / "twitter2015_images" / image), image)
