"""Encoders of the paper's data sets, from the configurations of `transformers`: one for each kind of modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.paper.decoding import Features, Flow, Spectrogram, Text
from midas_core.data import DataError

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, on which ResNet-18 was trained."""
RESNET, ELECTRA = "microsoft/resnet-18", "google/electra-base-discriminator"
"""The weights of pre-trained encoders."""


@dataclass(frozen=True)
class Size:
    """How large encoders and clips are."""

    resnet: Mapping[str, Any]
    transformer: Mapping[str, Any]
    electra: Mapping[str, Any] | None
    image: int
    crop: int


SIZES: Mapping[str, Size] = {
    "paper": Size(
        resnet={
            "embedding_size": 64,
            "hidden_sizes": [64, 128, 256, 512],
            "depths": [2, 2, 2, 2],
            "layer_type": "basic",
        },
        transformer={"width": 128, "heads": 4, "layers": 3, "dropout": 0.1},
        electra=None,
        image=256,
        crop=224,
    ),
    "tiny": Size(
        resnet={"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"},
        transformer={"width": 8, "heads": 2, "layers": 1, "dropout": 0.0},
        electra={
            "embedding_size": 8,
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        },
        image=32,
        crop=28,
    ),
}
"""As in the paper, and small ones that try a folder out in seconds and need no weights."""


class ClipEncoder(nn.Module):
    """ResNet-18 (`transformers.ResNetModel`) on each image of a clip, the features averaged over the images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, resnet: Any) -> None:
        super().__init__()
        self.resnet = resnet
        self.width = resnet.config.hidden_sizes[-1]
        colour = resnet.config.num_channels == len(MEAN)
        channels = (resnet.config.num_channels, 1, 1)
        mean, deviation = (MEAN, DEVIATION) if colour else ([0.5] * channels[0], [0.25] * channels[0])
        self.register_buffer("mean", torch.tensor(mean).view(channels), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(channels), persistent=False)

    def forward(self, clip: Tensor) -> Tensor:
        """Return (B, D) of (B, T, C, H, W): pixels of 8 bits, or anything else as it is."""
        images = clip.flatten(0, 1)
        if images.dtype == torch.uint8:
            images = (images / 255 - self.mean) / self.deviation
        features: Tensor = self.resnet(images).pooler_output.flatten(1)
        return features.unflatten(0, clip.shape[:2]).mean(dim=1)


class TextEncoder(nn.Module):
    """ELECTRA (`transformers.ElectraModel`); the feature of the first token."""

    def __init__(self, electra: Any) -> None:
        super().__init__()
        self.electra = electra
        self.width = electra.config.hidden_size

    def forward(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Return (B, D) of what a tokenizer returns, (B, L) each."""
        features: Tensor = self.electra(**tokens).last_hidden_state[:, 0]
        return features


class SequenceEncoder(nn.Module):
    """A transformer on features over time, (B, T, inputs); the feature is the mean over the time steps."""

    def __init__(self, inputs: int, *, width: int, heads: int, layers: int, dropout: float, longest: int = 512) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, width))
        self.place = nn.Parameter(0.02 * torch.randn(longest, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D) of (B, T, inputs); steps of zeros alone are padding."""
        present = (x != 0).any(dim=2)
        # Attention to nothing is NaN: a sample without a step keeps its first.
        present[:, 0] = present[:, 0] | ~present.any(dim=1)
        steps: Tensor = self.layers(self.embed(x) + self.place[: x.shape[1]], src_key_padding_mask=~present)
        return (steps * present[..., None]).sum(dim=1) / present.sum(dim=1, keepdim=True)


def shrink(decoders: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """Return the decoders with the clips of a size."""
    return {name: replace(x, size=size.image) if hasattr(x, "size") else x for name, x in decoders.items()}


def make_encoder(decoder: Any, size: Size, *, pretrained: bool, vocabulary: int) -> Any:
    """Return the encoder of a modality; its ``width`` is the width of the feature.

    Photos and text start from pre-trained weights where experiment and size do; a tiny text encoder has ``vocabulary``
    tokens. Raises ``DataError`` where weights are neither on this machine nor to be had.
    """
    if isinstance(decoder, Features):
        return SequenceEncoder(decoder.width, **size.transformer)
    from transformers import ElectraConfig, ElectraModel, ResNetConfig, ResNetModel

    pretrained = pretrained and size.electra is None
    if isinstance(decoder, Text):
        if pretrained:
            return TextEncoder(_load(ElectraModel, ELECTRA))
        return TextEncoder(ElectraModel(ElectraConfig(vocab_size=vocabulary, **(size.electra or {}))))
    if pretrained:
        return ClipEncoder(_load(ResNetModel, RESNET))
    channels = 1 if isinstance(decoder, Spectrogram) else 2 if isinstance(decoder, Flow) else 3
    return ClipEncoder(ResNetModel(ResNetConfig(num_channels=channels, **size.resnet)))


def make_tokenizer(texts: Sequence[str], size: Size) -> Any:
    """Return ELECTRA's tokenizer; for tiny encoders one that knows the words of the texts."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if size.electra is None:
        return _load(AutoTokenizer, ELECTRA)
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from tokenizers.trainers import WordLevelTrainer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = Tokenizer(WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    # A special token that stands in a text would be counted as a word too.
    known = [" ".join(word for word in text.split() if word not in special) for text in texts]
    words.train_from_iterator(known, WordLevelTrainer(special_tokens=special, show_progress=False))
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


def _load(kind: Any, name: str) -> Any:
    try:
        return kind.from_pretrained(name)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name}: expected its weights on this machine or to be had, got {reason}") from error
