from __future__ import annotations

import pytest

from benchmarks.paper.listing import DataError, Listing, Sample
from benchmarks.paper.splits import split


def listing(count: int = 200, classes: int = 2, groups: int = 20) -> Listing:
    names = [(k % classes, str(k % groups)) for k in range(count)]
    samples = [Sample(str(k), label, (), group) for k, (label, group) in enumerate(names)]
    return Listing(tuple("abcdef"[:classes]), samples)


def names(part):
    return {sample.name for sample in part}


@pytest.mark.parametrize("how", ["paper", "leak-free"])
def test_shares_and_classes(how):
    parts = split(listing(), how, 0)
    assert [len(part) for part in parts] == [140, 20, 40]
    assert [sum(sample.label for sample in part) for part in parts] == [70, 10, 20]
    assert len(set.union(*map(names, parts))) == 200


# Groups of one class each, as scenes; and of all classes, as actors.
@pytest.mark.parametrize("groups", [20, 25])
def test_no_group_is_in_two_splits(groups):
    given = listing(groups=groups)
    for seed in range(5):
        found = [{sample.group for sample in part} for part in split(given, "leak-free", seed)]
        assert sum(map(len, found)) == groups
    leaking = [{sample.group for sample in part} for part in split(given, "paper", 0)]
    assert leaking[0] & leaking[2]


@pytest.mark.parametrize("how", ["paper", "leak-free"])
def test_the_test_samples_are_the_same_for_every_seed(how):
    first, second, again = (split(listing(), how, seed) for seed in (0, 1, 0))
    assert names(first.test) == names(second.test)
    assert names(first.validation) != names(second.validation)
    assert [names(part) for part in first] == [names(part) for part in again]


def test_too_few_samples_are_refused():
    with pytest.raises(DataError, match="expected three or more of a class for the paper split, or groups, got 2"):
        split(listing(4), "paper", 0)
    uneven = listing(40)
    uneven.samples[3:] = [sample for sample in uneven.samples[3:] if not sample.label]
    message = r"class b: expected samples for training, .* split, got 0, 0, 1 of 1 samples in 1 groups: too few"
    with pytest.raises(DataError, match=message):
        split(uneven, "paper", 0)
    with pytest.raises(DataError, match=r"in the leak-free split, got .* of 10 samples in 2 groups: too few"):
        split(listing(20, groups=4), "leak-free", 0)
