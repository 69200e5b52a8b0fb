from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.paper.cache import Cache
from benchmarks.paper.decoding import Features, Photo, Text
from benchmarks.paper.listing import Sample
from benchmarks.paper.loading import Collate, Samples, cut
from tests.benchmarks.paper import made


@pytest.fixture
def clip():
    return torch.arange(2 * 2 * 6 * 6, dtype=torch.uint8).view(2, 2, 6, 6)


def test_the_middle_of_a_clip(clip):
    assert cut(clip, 4, mirrored_flow=False, random=False).equal(clip[..., 1:5, 1:5])


def test_random_squares_are_the_same_for_all_images_of_a_clip(clip):
    torch.manual_seed(0)
    corners = set()
    for _ in range(300):
        found = cut(clip, 4, mirrored_flow=False, random=True)
        assert (found[1] - found[0] == 72).all()
        mirrored = bool(found[0, 0, 0, 1] < found[0, 0, 0, 0])
        corners.add((found[0, 0].min().item(), mirrored))
    assert len(corners) == 9 * 2


def test_a_mirrored_flow_moves_the_other_way(clip):
    torch.manual_seed(0)
    found = [cut(clip, 6, mirrored_flow=True, random=True) for _ in range(20)]
    mirrored = clip.flip(-1)
    mirrored[:, 0] = 255 - mirrored[:, 0]
    assert {tuple(x.flatten().tolist()) for x in found} == {tuple(x.flatten().tolist()) for x in (clip, mirrored)}


def test_a_batch(tmp_path):
    made.photo(tmp_path / "a.jpg", 0)
    decoders = {"text": Text(3), "image": Photo(8), "sound": Features(2)}
    lengths = (2, 4)
    sounds = [np.full((length, 2), np.inf) for length in lengths]
    samples = [Sample(str(k), k, ("a b c d", tmp_path / "a.jpg", sounds[k]), "") for k in range(2)]
    given = Samples(samples, decoders, Cache(tmp_path / "cache"), crop=6, training=False)

    def tokenizer(texts, **options):
        assert texts == ["a b c d"] * 2
        assert options["max_length"] == 3
        return {name: torch.zeros(2, 3) for name in ("input_ids", "token_type_ids", "attention_mask")}

    (tokens, images, features), labels = Collate(decoders, tokenizer)([given[0], given[1]])
    assert list(tokens) == ["input_ids", "attention_mask"]
    assert images.shape == (2, 1, 3, 6, 6)
    assert features.equal(torch.zeros(2, 4, 2, dtype=torch.float64))
    assert labels.tolist() == [0, 1]
