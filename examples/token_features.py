"""
Token features and masks
========================

A ViT, a BERT and a cross-attention head: the encoders run once, and their tokens are mixed together with their masks.

The encoders are tiny and untrained, made from configurations. For yours, load pre-trained weights.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from midas_core.adapters.torch import MidasLoss

WIDTH, CLASSES, LENGTH = 32, 10, 6


def masked_mean(tokens, mask):
    weights = mask[..., None].to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


class Encoders(nn.Module):
    """Each modality as a dict of its tokens and their mask, True for what is there."""

    def __init__(self):
        super().__init__()
        size = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        self.image = ViTModel(ViTConfig(**size, image_size=8, patch_size=2, num_channels=1), add_pooling_layer=False)
        words = {"vocab_size": 40, "max_position_embeddings": LENGTH}
        self.text = BertModel(BertConfig(**size, **words), add_pooling_layer=False)

    def forward(self, pixel_values, input_ids, attention_mask):
        image = self.image(pixel_values).last_hidden_state
        text = self.text(input_ids, attention_mask=attention_mask).last_hidden_state
        return {
            "image": {"tokens": image, "mask": torch.ones(image.shape[:2], dtype=torch.bool)},
            "text": {"tokens": text, "mask": attention_mask.bool()},
        }


class CrossAttention(nn.Module):
    """The fused head: each modality attends to the other."""

    def __init__(self):
        super().__init__()
        self.attend = nn.ModuleDict({m: nn.MultiheadAttention(WIDTH, 2, batch_first=True) for m in ("image", "text")})
        self.classify = nn.Linear(2 * WIDTH, CLASSES)

    def forward(self, features):
        pooled = []
        for name, other in (("image", "text"), ("text", "image")):
            here, there = features[name], features[other]
            context = (there["tokens"], there["tokens"])
            seen, _ = self.attend[name](here["tokens"], *context, key_padding_mask=~there["mask"], need_weights=False)
            pooled.append(masked_mean(here["tokens"] + seen, here["mask"]))
        return self.classify(torch.cat(pooled, dim=1))


class PooledHead(nn.Module):
    """A unimodal head: one modality, pooled, to logits."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Linear(WIDTH, CLASSES)

    def forward(self, feature):
        return self.classify(masked_mean(feature["tokens"], feature["mask"]))


def make_data():
    """Digits with captions: two to six words, some of which name the digit."""
    generator = torch.Generator().manual_seed(0)
    digits = load_digits()
    labels = torch.tensor(digits.target)
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    images = images + 0.8 * torch.randn(images.shape, generator=generator)
    words = torch.randint(10, 40, (len(labels), LENGTH), generator=generator)
    named = torch.rand(words.shape, generator=generator) < 0.3
    words = torch.where(named, labels[:, None], words)
    lengths = torch.randint(2, LENGTH + 1, (len(labels), 1), generator=generator)
    return images, words, (torch.arange(LENGTH) < lengths).long(), labels


def main():
    torch.manual_seed(0)
    *inputs, labels = make_data()
    train, test = torch.arange(800), torch.arange(1200, len(labels))
    encoders, head = Encoders(), CrossAttention()
    criterion = MidasLoss(
        num_classes=CLASSES,
        unimodal_heads={"image": PooledHead(), "text": PooledHead()},
        head_input="separate",  # the head takes the dict of modalities
        warmup_epochs=1,
    )
    optimizer = torch.optim.Adam([*encoders.parameters(), *head.parameters(), *criterion.parameters()], lr=2e-3)
    for epoch in range(8):
        criterion.set_epoch(epoch)
        for batch in train[torch.randperm(len(train))].split(50):
            features = encoders(*(x[batch] for x in inputs))
            loss = criterion(features, labels[batch], head=head)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    encoders.eval()
    with torch.no_grad():
        logits = criterion.fuse(encoders(*(x[test] for x in inputs)), head=head)
    print(f"test accuracy {100 * (logits.argmax(dim=1) == labels[test]).double().mean():.1f} %")


if __name__ == "__main__":
    main()
