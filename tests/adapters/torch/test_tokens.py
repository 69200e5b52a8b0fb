"""Token features with masks: dicts and tuples of tensors through the criterion, a cross-attention head, the Trainer."""

import re
import runpy
from collections import namedtuple

import pytest
import torch
from torch import nn

import midas_core as mc
from midas_core.adapters.torch import MidasLoss, Misalign, fuse
from tests.pages import ROOT

B, T, D, C = 6, 4, 8, 3
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
LENGTHS = {"image": torch.tensor([4, 4, 3, 2, 4, 1]), "text": torch.tensor([2, 4, 1, 3, 3, 2])}
TOKENS = {name: torch.randn(B, T, D, generator=torch.Generator().manual_seed(k)) for k, name in enumerate(LENGTHS)}
PRESENT = torch.tensor([[True, True], [False, True], [True, True], [True, False], [True, True], [True, True]])


def modalities(columns=0, filling=0.0, dtype=torch.float64):
    """Return both modalities with more padding or other content in it."""
    made = {}
    for name, tokens in TOKENS.items():
        padded = torch.full((B, T + columns, D), filling, dtype=dtype)
        padded[:, :T] = tokens
        mask = torch.arange(T + columns) < LENGTHS[name][:, None]
        padded[~mask] = filling
        made[name] = {"tokens": padded, "mask": mask}
    return made


def masked_mean(tokens, mask):
    weights = mask[..., None].to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.classify = nn.Linear(D, C)

    def forward(self, feature):
        return self.classify(masked_mean(**feature))


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.ModuleDict({name: nn.MultiheadAttention(D, 2, batch_first=True) for name in TOKENS})
        self.classify = nn.Linear(2 * D, C)

    def forward(self, features):
        pooled = []
        for name, other in (("image", "text"), ("text", "image")):
            here, there = features[name], features[other]
            context = (there["tokens"], there["tokens"])
            seen, _ = self.attend[name](here["tokens"], *context, key_padding_mask=~there["mask"], need_weights=False)
            pooled.append(masked_mean(here["tokens"] + seen, here["mask"]))
        return self.classify(torch.cat(pooled, dim=1))


def make(**options):
    torch.manual_seed(0)
    heads = {name: Pooled() for name in TOKENS}
    criterion = MidasLoss(num_classes=C, unimodal_heads=heads, head_input="separate", seed=0, **options).double()
    return criterion, CrossAttention().double()


def outcome(features, labels=LABELS, present=None, permutation=None, **options):
    criterion, head = make(**options)
    terms = criterion.terms(features, labels, head=head, present=present, permutation=permutation)
    terms.total.backward()
    gradients = [p.grad for p in (*head.parameters(), *criterion.parameters())]
    return [*terms, criterion.alpha, *gradients]


OPTIONS = [
    {},
    {"similarity": "l2"},
    {"similarity": None},
    {"absent_share": 0.7},
    {"label_smoothing": 0.1, "check": True},
]


@pytest.mark.parametrize("present", [None, PRESENT])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_padding_changes_no_number(options, present):
    expected = outcome(modalities(), present=present, **options)
    assert all(x.isfinite().all() for x in expected)
    for columns, filling in ((0, 7.0), (3, -2.0)):
        for x, y in zip(outcome(modalities(columns, filling), present=present, **options), expected, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("absent_share", [0.0, 0.5])
def test_a_step_is_that_of_the_core(absent_share):
    criterion, head = make(absent_share=absent_share)
    features = modalities()
    drawn, _ = make(absent_share=absent_share)
    pairs = drawn._draw_pairs(LABELS, C, 2, moves=True, variant="paper", absent_share=absent_share)
    mixed = mc.mix(list(features.values()), pairs)
    flat = {name: {k: x.flatten(0, 1) for k, x in m.items()} for name, m in zip(features, mixed, strict=True)}
    own = [criterion.unimodal_heads[name](x) for name, x in features.items()]
    logits = head(features), own, head(flat).reshape(2, B, C)
    alike = mc.similarity(list(features.values()), pairs)
    terms, _, _ = mc.midas_objective(*logits, LABELS, pairs, alike, mc.init_state(2, LABELS))
    torch.testing.assert_close(criterion(features, LABELS, head=head), terms.total.mean())


def test_a_missing_modality_may_hold_anything():
    features = modalities()
    expected = outcome(features, present=PRESENT)
    features["image"]["tokens"][1], features["image"]["mask"][1] = torch.nan, False
    for x, y in zip(outcome(features, present=PRESENT), expected, strict=True):
        torch.testing.assert_close(x, y)


def test_prediction_and_the_augmentation_alone():
    criterion, head = make()
    features = modalities()
    expected = head(features)
    torch.testing.assert_close(criterion.fuse(dict(reversed(features.items())), head=head), expected)
    torch.testing.assert_close(fuse(head, features, names=["image", "text"], head_input="separate"), expected)
    assert criterion.ensemble_logits(features, head=head, present=PRESENT).isfinite().all()
    mixed, soft, weights = Misalign(num_classes=C, seed=0)(features, LABELS)
    assert mixed["text"]["mask"].shape == (2 * B, T)
    assert soft.shape == (2 * B, C)
    assert weights.min() >= 1


def test_tuples_and_a_similarity_of_ones_own():
    Words = namedtuple("Words", ["tokens", "lengths"])
    tokens = {name: Words(x.float(), LENGTHS[name]) for name, x in TOKENS.items()}
    seen = []

    class First(nn.Linear):
        def forward(self, words):
            seen.append(type(words))
            return super().forward(words.tokens[:, 0])

    heads = {name: First(D, C) for name in tokens}
    criterion = MidasLoss(
        num_classes=C, unimodal_heads=heads, head_input="separate", similarity=lambda words: words.tokens[:, 0]
    )
    fused = nn.Linear(2 * D, C)
    loss = criterion(tokens, LABELS, head=lambda x: fused(torch.cat([w.tokens[:, 0] for w in x.values()], dim=1)))
    assert loss.isfinite()
    assert set(seen) == {Words}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_lengths_compile_once(compiler):
    class Summed(nn.Linear):
        """Attention compiles slowly: a masked sum stands for it."""

        def forward(self, features):
            return super().forward(torch.cat([masked_mean(**m) for m in features.values()], dim=1))

    graphs = 0

    def backend(graph, _):
        nonlocal graphs
        graphs += 1
        return graph.forward

    criterion, _ = make(similarity="cosine")
    head = Summed(2 * D, C).double()
    step = compiler(lambda x: criterion(x, LABELS, head=head), backend=backend, dynamic=True, fullgraph=True)
    for columns in (0, 2, 5, 9):
        step(modalities(columns))
    assert graphs <= 2


Output = namedtuple("Output", ["last_hidden_state"])
WRONG = {
    "features of modality 'text', entry 'mask': expected dtype bool, True for what is there, got torch.int64; pass "
    "mask.bool()": {"text": {"tokens": TOKENS["text"], "mask": torch.ones(B, T, dtype=torch.int64)}},
    "features of modality 'text', entry 'mask': expected shape (B, T) = (6, 4), got (6, 3)": {
        "text": {"tokens": TOKENS["text"], "mask": torch.ones(B, 3, dtype=torch.bool)}
    },
    "features of modality 'text', entry 'lengths': expected shape (B, ...) with B = 6 as in labels, got (5,)": {
        "text": {"tokens": TOKENS["text"], "lengths": torch.ones(5)}
    },
    "features of modality 'text': expected a tensor, got Output; take one of its tensors, such as pooler_output or "
    "last_hidden_state.mean(dim=1)": {"text": Output(TOKENS["text"])},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_refused(message):
    criterion, head = make()
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        criterion(modalities() | WRONG[message], LABELS, head=head)


def test_several_tensors_need_heads_that_take_them():
    linear = MidasLoss(num_classes=C, feature_dims={"image": D, "text": D}, head_input="separate")
    with pytest.raises(TypeError, match="expected a tensor for its linear head, got dict; pass unimodal_heads="):
        linear(modalities(), LABELS, head=len)
    concatenated = MidasLoss(num_classes=C, unimodal_heads={name: Pooled() for name in TOKENS})
    with pytest.raises(TypeError, match="expected a tensor with head_input='concatenated', got dict"):
        concatenated(modalities(), LABELS, head=len)


# The Trainer asks for it where there is no GPU too.
@pytest.mark.filterwarnings("ignore:.*pin_memory")
def test_the_page_in_the_trainer(tmp_path):
    transformers = pytest.importorskip("transformers")
    from midas_core.adapters.transformers import MidasCallback
    from midas_core.runs import read_run
    from tests.pages import blocks_of

    names = runpy.run_path(str(ROOT / "examples" / "token_features.py"), run_name="token_features")
    names["Trainer"] = transformers.Trainer
    block = next(block for block in blocks_of("docs/fusion.md") if "class MidasTrainer" in block)
    exec(block, names)
    images, words, mask, labels = names["make_data"]()
    samples = [
        {"pixel_values": images[k], "input_ids": words[k], "attention_mask": mask[k], "labels": labels[k]}
        for k in range(48)
    ]
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        num_train_epochs=2,
        per_device_train_batch_size=16,
        eval_strategy="epoch",
        report_to="none",
        label_names=["labels"],
    )
    callback = MidasCallback(tmp_path / "run")
    data = {"train_dataset": samples[:32], "eval_dataset": samples[32:]}
    names["MidasTrainer"](names["ImageText"](), arguments, callbacks=[callback], **data).train()
    metrics = read_run(tmp_path / "run").metrics
    assert [line["epoch"] for line in metrics if "val_loss" in line] == [0, 1]
