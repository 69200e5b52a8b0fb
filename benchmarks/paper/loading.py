"""From samples to batches: what was decoded is cropped, flipped and put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from benchmarks.paper.cache import Cache
from benchmarks.paper.decoding import Features, Flow, Frames, Photo, Text
from benchmarks.paper.listing import Sample


class Samples(Dataset[tuple[list[Any], int]]):
    """The samples of a split: the source of each modality, ready for a batch, and the label."""

    def __init__(
        self, samples: Sequence[Sample], decoders: Mapping[str, Any], cache: Cache, *, crop: int, training: bool
    ) -> None:
        self.samples, self.decoders, self.cache = samples, list(decoders.values()), cache
        self.crop, self.training = crop, training

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: int) -> tuple[list[Any], int]:
        sample = self.samples[place]
        parts = [self._load(decoder, source) for decoder, source in zip(self.decoders, sample.sources, strict=True)]
        return parts, sample.label

    def _load(self, decoder: Any, source: Any) -> Any:
        if isinstance(decoder, Text):
            return source
        if isinstance(decoder, Features):
            return torch.from_numpy(np.nan_to_num(source, nan=0.0, posinf=0.0, neginf=0.0))
        clip = torch.from_numpy(self.cache.get(decoder, source))
        if not isinstance(decoder, (Frames, Flow, Photo)):
            return clip
        return cut(clip, self.crop, mirrored_flow=isinstance(decoder, Flow), random=self.training)


def cut(clip: Tensor, side: int, *, mirrored_flow: bool, random: bool) -> Tensor:
    """Return a square of a clip (T, C, H, W), the same of all its images; random ones are mirrored every second time.

    A mirrored flow also moves to the other side: its first component is turned round.
    """
    room = clip.shape[-1] - side
    top, left = torch.randint(room + 1, (2,)).tolist() if random else (room // 2, room // 2)
    clip = clip[..., top : top + side, left : left + side]
    if not random or torch.rand(()) < 0.5:
        return clip
    clip = clip.flip(-1)
    if mirrored_flow:
        clip[:, 0] = 255 - clip[:, 0]
    return clip


class Collate:
    """Puts samples together to a batch: M inputs, (B, ...) or the tokens of the texts, labels (B,)."""

    def __init__(self, decoders: Mapping[str, Any], tokenizer: Any = None) -> None:
        self.decoders, self.tokenizer = list(decoders.values()), tokenizer

    def __call__(self, items: Sequence[tuple[list[Any], int]]) -> tuple[list[Any], Tensor]:
        """Return inputs and labels."""
        columns = zip(*(parts for parts, _ in items), strict=True)
        inputs = [self._together(decoder, list(column)) for decoder, column in zip(self.decoders, columns, strict=True)]
        return inputs, torch.tensor([label for _, label in items])

    def _together(self, decoder: Any, column: list[Any]) -> Any:
        if isinstance(decoder, Features):
            return pad_sequence(column, batch_first=True)
        if not isinstance(decoder, Text):
            return torch.stack(column)
        tokens = self.tokenizer(column, padding=True, truncation=True, max_length=decoder.length, return_tensors="pt")
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}
