"""A ViT, a BERT and a cross-attention head: tokens mixed, so that the encoders run once, or inputs mixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.results import Result
from benchmarks.sections.memory import peak_cpu_bytes, peak_cuda_bytes
from benchmarks.settings import Settings
from benchmarks.timing import interleave
from midas_core.adapters.torch import MidasLoss

BATCH, CLASSES, WORDS = 32, 10, 16


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the tokens that are there."""
    weights = mask[..., None].to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


class Fusion(nn.Module):
    """A ViT and a BERT, and a head in which each attends to the other."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel, ViTConfig, ViTModel

        size: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 2}
        size["intermediate_size"] = 4 * width
        self.image = ViTModel(ViTConfig(**size, image_size=32, patch_size=8), add_pooling_layer=False)
        self.text = BertModel(BertConfig(**size, vocab_size=1000), add_pooling_layer=False)
        self.attend = nn.ModuleDict({m: nn.MultiheadAttention(width, 2, batch_first=True) for m in ("image", "text")})
        self.classify = nn.Linear(2 * width, CLASSES)

    def encode(self, inputs: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
        """Return tokens and masks."""
        image, (words, mask) = self.image(inputs["image"]).last_hidden_state, inputs["text"].values()
        text = self.text(words, attention_mask=mask.long()).last_hidden_state
        there = torch.ones(image.shape[:2], dtype=torch.bool, device=image.device)
        return {"image": {"tokens": image, "mask": there}, "text": {"tokens": text, "mask": mask}}

    def fuse(self, features: dict[str, dict[str, Tensor]]) -> Tensor:
        """Return the logits of tokens."""
        pooled = []
        for name, other in (("image", "text"), ("text", "image")):
            here, there = features[name], features[other]
            context = (there["tokens"], there["tokens"])
            seen, _ = self.attend[name](here["tokens"], *context, key_padding_mask=~there["mask"], need_weights=False)
            pooled.append(masked_mean(here["tokens"] + seen, here["mask"]))
        logits: Tensor = self.classify(torch.cat(pooled, dim=1))
        return logits

    def forward(self, inputs: dict[str, Any]) -> Tensor:
        """Return the logits of inputs."""
        return self.fuse(self.encode(inputs))


class Pooled(nn.Module):
    """A unimodal head on tokens, or on inputs as they are."""

    def __init__(self, width: int, *, inputs: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, width) if inputs else None
        self.classify = nn.LazyLinear(CLASSES)

    def forward(self, feature: Any) -> Tensor:
        """Return the logits."""
        if isinstance(feature, Tensor):
            feature = feature.flatten(1)
        else:
            tokens = feature["tokens"]
            feature = masked_mean(tokens if self.embed is None else self.embed(tokens), feature["mask"])
        logits: Tensor = self.classify(feature)
        return logits


def measure(settings: Settings) -> list[Result]:
    """Time and weigh a step of both kinds beside joint training."""
    width, layers = (16, 1) if settings.quick else (128, 4)
    settings.report("tokens of a ViT and a BERT")
    device = torch.device(settings.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Fusion(width, layers).to(device)
        mask = torch.arange(WORDS) < torch.randint(4, WORDS + 1, (BATCH, 1))
        text = {"tokens": torch.randint(1000, (BATCH, WORDS)).to(device), "mask": mask.to(device)}
        inputs = {"image": torch.randn(BATCH, 3, 32, 32).to(device), "text": text}
        labels = torch.randint(CLASSES, (BATCH,)).to(device)

    def criterion(similarity: str | None, *, raw: bool) -> MidasLoss:
        heads = {name: Pooled(width, inputs=raw) for name in inputs}
        options: dict[str, Any] = {"num_classes": CLASSES, "unimodal_heads": heads, "head_input": "separate", "seed": 0}
        return MidasLoss(**options, similarity=similarity).to(device)

    tokens, whole = criterion("cosine", raw=False), criterion(None, raw=True)
    losses: dict[str, Callable[[], Tensor]] = {
        "joint": lambda: functional.cross_entropy(model(inputs), labels),
        "MIDAS, tokens mixed": lambda: tokens(model.encode(inputs), labels, head=model.fuse),
        "MIDAS, inputs mixed": lambda: whole(inputs, labels, head=model),
    }

    def step(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            loss().backward()
            for module in (model, tokens, whole):
                module.zero_grad()

        run()
        return run

    steps = {name: step(loss) for name, loss in losses.items()}
    times = interleave(steps, settings.effort)
    peak = peak_cuda_bytes if settings.device == "cuda" else peak_cpu_bytes
    memory = {name: peak(run) / 2**20 for name, run in steps.items()}
    size = f"B = {BATCH}, width {width}, {layers} layers each"
    rows = [Result.of_ratio(times, name, "joint", size) for name in list(steps)[1:]]
    return [*rows, *(Result(f"memory, {name}", size, x, unit="MB") for name, x in memory.items())]
