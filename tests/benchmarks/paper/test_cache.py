from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from benchmarks.paper import cache as cache_module
from benchmarks.paper.cache import Cache, prepare
from benchmarks.paper.decoding import DamagedError, Features, Photo, Text
from benchmarks.paper.listing import DataError, Listing, Problem, Sample
from tests.benchmarks.paper import made

DECODERS = {"text": Text(8), "image": Photo(8)}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def listing(tmp_path):
    paths = [tmp_path / f"{k}.jpg" for k in range(6)]
    for k, path in enumerate(paths):
        made.photo(path, k)
    samples = [Sample(str(k), k % 2, (f"text {k}", path), str(k)) for k, path in enumerate(paths)]
    return Listing(("a", "b"), samples)


def test_a_file_is_decoded_once(cache, tmp_path, monkeypatch):
    made.photo(tmp_path / "a.jpg", 0)
    first = cache.get(Photo(8), tmp_path / "a.jpg")
    monkeypatch.setattr(Photo, "decode", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(cache.get(Photo(8), tmp_path / "a.jpg"), first)


def test_other_settings_and_a_changed_file_are_decoded_again(cache, tmp_path):
    path = tmp_path / "a.jpg"
    made.photo(path, 0)
    first = cache.get(Photo(8), path)
    assert cache.get(Photo(16), path).shape == (1, 3, 16, 16)
    made.photo(path, 1)
    os.utime(path, ns=(1, 1))
    assert (cache.get(Photo(8), path) != first).any()


def test_an_array_that_is_cut_off_is_made_again(cache, tmp_path):
    path = tmp_path / "a.jpg"
    made.photo(path, 0)
    first = cache.get(Photo(8), path)
    kept = cache.path(Photo(8), path)
    for content in (b"", kept.read_bytes()[:50], b"no array"):
        kept.write_bytes(content)
        np.testing.assert_array_equal(cache.get(Photo(8), path), first)


def test_a_full_disk_is_said(cache, tmp_path, monkeypatch):
    made.photo(tmp_path / "a.jpg", 0)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_module, "write_whole", full)
    with pytest.raises(DataError, match=r"cache: expected room for 320 bytes of a decoded file, got No space"):
        cache.get(Photo(8), tmp_path / "a.jpg")


def test_a_missing_file_is_damaged(cache, tmp_path):
    with pytest.raises(DamagedError, match="expected a file, got No such file"):
        cache.get(Photo(8), tmp_path / "a.jpg")


def damage(listing, *places):
    for place in places:
        listing.samples[place].sources[1].write_bytes(b"no image")


def test_what_is_damaged_is_skipped_and_named(listing, cache):
    damage(listing, 1, 4)
    done = []
    kept = prepare(listing, DECODERS, cache, damaged="skip", jobs=2, report=lambda *numbers: done.append(numbers))
    assert [x.name for x in kept.samples] == ["0", "2", "3", "5"]
    assert [x.name.rpartition("/")[2] for x in kept.problems] == ["1.jpg", "4.jpg"]
    assert all(x.reason.startswith("expected a readable image") for x in kept.problems)
    assert done[-1] == (6, 6)


def test_a_second_pass_reads_no_array(listing, cache, monkeypatch):
    prepare(listing, DECODERS, cache)
    monkeypatch.setattr(Cache, "get", lambda *_: pytest.fail("read"))
    assert len(prepare(listing, DECODERS, cache).samples) == 6


def test_what_is_damaged_is_refused(listing, cache):
    damage(listing, 0, 1, 2, 3)
    listing.problems.append(Problem("9.jpg", "missing"))
    message = r"samples: expected 7 that can be read, got 5 problems: 9\.jpg: missing; .*0\.jpg: .*; and 2 more; --dam"
    with pytest.raises(DataError, match=message):
        prepare(listing, DECODERS, cache)


def test_an_image_of_several_samples_is_decoded_once_and_named_once(listing, cache):
    listing.samples.append(Sample("again", 0, ("text", listing.samples[0].sources[1]), "0"))
    damage(listing, 0)
    kept = prepare(listing, DECODERS, cache, damaged="skip")
    assert len(kept.samples) == 5
    assert len(kept.problems) == 1


def test_features_of_another_width_are_damaged(cache):
    samples = [Sample(str(k), k, (np.zeros((5, 3 + k)),), str(k)) for k in range(2)]
    kept = prepare(Listing(("a", "b"), samples), {"audio": Features(3)}, cache, damaged="skip")
    assert len(kept.samples) == 1
    assert str(kept.problems[0]) == "1, audio: expected features of shape (T, 3), got (5, 4)"


def test_a_codec_that_is_missing_ends_it(listing, cache, monkeypatch):
    def no_codec(*_):
        raise DataError("a codec is missing")

    monkeypatch.setattr(Photo, "decode", no_codec)
    with pytest.raises(DataError, match="a codec is missing"):
        prepare(listing, DECODERS, cache, damaged="skip", jobs=2)
