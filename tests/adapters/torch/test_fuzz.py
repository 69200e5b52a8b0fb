"""Hostile input: whatever comes, either a finite loss, or a TypeError or ValueError that names the argument.

No error of the framework may come through for what shapes, dtypes and structure show.
"""

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given, settings
from torch import nn

from midas_core.adapters.torch import MidasLoss, Misalign
from tests.errors import must_be_clear

B, DIMS, CLASSES = 4, {"audio": 3, "video": 5}, 3
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64)


def layouts(x):
    """Yield the same values in other memory orders."""
    return st.sampled_from(
        [
            x,
            x.t().contiguous().t() if x.ndim == 2 else x,
            torch.stack([x, x], dim=-1)[..., 0],
            x.flip(0).flip(0),
            x.expand(x.shape) if x.ndim else x,
        ]
    )


@st.composite
def tensors(draw, rows, columns):
    """Draw a feature, most often one that fits."""
    shape = (rows, columns)
    if draw(st.integers(0, 3)) == 0:
        shape = draw(
            st.sampled_from([(rows,), (), (0, columns), (rows, 0), (rows + 1, columns), (rows, columns + 1), (1, 1, 1)])
        )
    dtype = draw(st.sampled_from(DTYPES)) if draw(st.integers(0, 3)) == 0 else torch.float32
    x = torch.randn(shape).to(dtype) if dtype != torch.complex64 else torch.randn(shape, dtype=dtype)
    value = draw(st.sampled_from([None, None, None, float("nan"), float("inf"), 6e4]))
    if value is not None and x.is_floating_point() and x.numel():
        x.reshape(-1)[0] = value
    return draw(layouts(x))


@st.composite
def features(draw):
    audio, video = (draw(tensors(B, width)) for width in DIMS.values())
    kind = draw(st.integers(0, 11))
    if kind > 3:
        return {"audio": audio, "video": video}
    return [
        [audio, video],
        (audio, video),
        {"video": video, "audio": audio},
        draw(
            st.sampled_from(
                [
                    *([], {}, None, "audio", 7, audio, np.zeros((B, 3)), [audio], [audio, video, audio]),
                    *([[audio], [video]], {"audio": audio}, {"audio": audio, "text": video}, [audio, None]),
                    *([audio.tolist(), video], {"audio": audio, "video": {"video": video}}, {0: audio, 1: video}),
                ]
            )
        ),
    ][kind]


@st.composite
def labels(draw):
    good = torch.tensor([0, 1, 2, 1])
    if draw(st.integers(0, 2)):
        return good.to(draw(st.sampled_from([torch.int64, torch.int32, torch.uint8])))
    return draw(
        st.sampled_from(
            [
                *(good.float(), good.bool(), good[:3], good[:0], good[:, None], good[None], torch.tensor(1)),
                *(good.tolist(), good.numpy(), None, "0112", torch.zeros(B, CLASSES), torch.zeros(B, CLASSES + 1)),
                *(torch.full((B,), float("nan")), torch.zeros(B, CLASSES, 1), good.to(torch.complex64)),
            ]
        )
    )


EXTRAS = {
    "permutation": [
        *(None, None, torch.tensor([1, 0, 3, 2]), torch.tensor([1, 0, 3]), torch.ones(B), torch.zeros(B, B, dtype=int)),
        *([1, 0, 3, 2], "all", torch.tensor(3)),
    ],
    "sample_weight": [
        *(None, None, torch.ones(B), torch.ones(B + 1), torch.ones(B, 1), torch.ones(B, dtype=int), [1.0] * B, 2.0),
    ],
    "present": [
        *(None, None, torch.ones(B, 2, dtype=bool), torch.ones(B, 3, dtype=bool), torch.ones(B, 2), True),
        *({"audio": torch.ones(B, dtype=bool), "video": torch.zeros(B, dtype=bool)}, {"audio": True}, [[True] * B] * 2),
    ],
    "generator": [None, None, torch.Generator().manual_seed(0), 0, "seed", np.random.default_rng(0)],
}
HEADS = [
    *(nn.Linear(8, CLASSES), nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, CLASSES)), lambda x: x[:, :3]),
    *(nn.Linear(9, CLASSES), nn.Linear(8, CLASSES + 1), lambda x: None, lambda x: x.sum(dim=1), lambda x: x[:1, :3]),
    *(None, "linear", 3),
]


@settings(max_examples=250)
@given(
    given_features=features(),
    given_labels=labels(),
    head=st.integers(0, 3 * len(HEADS)),
    extras=st.fixed_dictionaries({name: st.integers(0, 30) for name in EXTRAS}),
    options=st.fixed_dictionaries({"variant": st.sampled_from(["paper", "official"]), "training": st.booleans()}),
)
def test_the_criterion(given_features, given_labels, head, extras, options):
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=DIMS, variant=options["variant"], seed=0)
    criterion.train(options["training"])
    head = HEADS[head] if head < len(HEADS) else HEADS[head % 2]
    extras = {name: EXTRAS[name][k] if k < len(EXTRAS[name]) else None for name, k in extras.items()}
    loss = must_be_clear(lambda: criterion(given_features, given_labels, head=head, **extras))
    assert criterion.alpha.isfinite().all()
    if loss is None:
        assert criterion.step == 0
    else:
        assert loss.shape == ()
        loss.backward()


@settings(max_examples=150)
@given(given_features=features(), given_labels=labels(), training=st.booleans())
def test_the_augmentation(given_features, given_labels, training):
    layer = Misalign(num_classes=CLASSES, similarity=None, seed=0).train(training)
    found = must_be_clear(lambda: layer(given_features, given_labels))
    if found is not None:
        assert ((found.soft_labels.sum(dim=1) - 1).abs() < 1e-5).all()
