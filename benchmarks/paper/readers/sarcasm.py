"""Sarcasm in tweets, image and text (Cai, Cai and Wan, 2019).

The layout of the repository headacheboy/data-of-multimodal-sarcasm-detection: ``text/train.txt``, ``valid2.txt`` and
``test2.txt``, each line a Python list of the tweet's id, its text and its label, in the last two files the label by
hashtag and the one by a human annotator, which counts; images in ``dataset_image/{id}.jpg``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from benchmarks.paper.listing import Listing, Problem, Sample, files_in, make_listing, read_lines

LAYOUT = "text/{train,valid2,test2}.txt and dataset_image/{id}.jpg"
CLASSES = ("not sarcastic", "sarcastic")
CUES = {
    *("sarcasm", "sarcastic", "reposting", "<url>", "joke", "jokes", "humour", "humor", "irony", "ironic", "exgag"),
}
"""Words that give the label away: the authors of the data leave such tweets out, and so does `read`."""


def read(root: Path) -> Listing:
    """List the tweets. Each is a group of its own."""
    files_in(root, "dataset_image", LAYOUT)
    tweets = [
        tweet
        for file in ("train.txt", "valid2.txt", "test2.txt")
        for tweet in _parse(root, file, read_lines(root, f"text/{file}", LAYOUT))
    ]
    kept = [x for x in tweets if isinstance(x, Problem) or not CUES & set(str(x.sources[0]).split())]
    left_out = len(tweets) - len(kept)
    note = f"{left_out} tweets left out whose words give the label away" if left_out else ""
    return make_listing(root, LAYOUT, CLASSES, kept, note)


def _parse(root: Path, file: str, lines: list[str]) -> Iterator[Sample | Problem]:
    for number, line in enumerate(lines, start=1):
        try:
            name, text, *labels = ast.literal_eval(line)
            label = CLASSES.index(CLASSES[int(labels[-1])])
        except (ValueError, SyntaxError, TypeError, IndexError, MemoryError, RecursionError):
            yield Problem(f"{file}, line {number}", "expected ['id', 'text', label], the label 0 or 1")
            continue
        yield Sample(str(name), label, (str(text), root / "dataset_image" / f"{name}.jpg"), str(name))
