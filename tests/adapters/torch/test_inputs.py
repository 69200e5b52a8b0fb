"""Bad input to the PyTorch criterion: the error names the argument, what was expected and what came."""

import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss, Misalign
from tests.test_options import WRONG_OPTIONS

DIMS = {"audio": 3, "video": 5}
F0, F1, LABELS = torch.zeros(4, 3), torch.zeros(4, 5), torch.tensor([0, 1, 2, 0])
HERE = torch.ones(4, dtype=torch.bool)
HEAD = nn.Linear(8, 3)
HEAD_OF_DOUBLES = nn.Linear(8, 3).double()


class Output(SimpleNamespace):
    """As the models of transformers return it."""


PARTS = [
    ({"num_classes": 1}, ValueError, "num_classes: expected a whole number >= 2, got 1"),
    ({"num_classes": 2.5}, TypeError, r"num_classes: expected a whole number >= 2, got 2\.5"),
    ({"num_classes": True}, TypeError, "num_classes: expected a whole number >= 2, got True"),
    ({"check": "yes"}, TypeError, "check: expected True or False, got 'yes'"),
    ({"feature_dims": None}, ValueError, "feature_dims, unimodal_heads: expected exactly one of them, got neither"),
    ({"unimodal_heads": [HEAD, HEAD]}, ValueError, "feature_dims, unimodal_heads: .*got both"),
    ({"feature_dims": [3]}, ValueError, "feature_dims: expected two or more modalities, got 1"),
    ({"feature_dims": 3}, TypeError, "feature_dims: expected a list, a tuple or a dict by modality name, got int"),
    ({"feature_dims": {"audio": 3, "video": 0}}, ValueError, "feature_dims of modality 'video': .*>= 1, got 0"),
    ({"feature_dims": [3, 5, 4], "variant": "official"}, ValueError, "'official' is .*2 modalities only, got 3"),
    ({"feature_dims": None, "unimodal_heads": [HEAD, "head"]}, TypeError, "expected an nn.Module, got str"),
    ({"class_weights": [1.0, 2.0]}, ValueError, "class_weights: expected 3 numbers, one for each class, got 2"),
]


@pytest.mark.parametrize(("change", "kind", "message"), PARTS, ids=[str(e[0]) for e in PARTS])
def test_parts(change, kind, message):
    with pytest.raises(kind, match=message):
        MidasLoss(**({"num_classes": 3, "feature_dims": DIMS} | change))


@pytest.mark.parametrize(("kind", "message"), WRONG_OPTIONS)
def test_options(kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        MidasLoss(num_classes=2, feature_dims=DIMS, **WRONG_OPTIONS[kind, message])


def test_options_are_keyword_only():
    with pytest.raises(TypeError):
        MidasLoss(3, [3, 5])


CALLS = [
    ({"features": [F0]}, ValueError, "features: expected 2 modalities, got 1"),
    ({"features": F0}, TypeError, "features: expected a list, a tuple or a dict by modality name, got Tensor"),
    ({"features": [F0, [1.0]]}, TypeError, "features of modality 'video': expected a tensor, got list"),
    ({"features": [F0, F1.int()]}, TypeError, "features of modality 'video': expected a real floating dtype"),
    (
        {"features": [F0, F1[:3]]},
        ValueError,
        r"features of modality 'video': expected shape \(B, D\) with B = 4 as in labels, got \(3, 5\)",
    ),
    (
        {"features": [F1, F1]},
        ValueError,
        r"features of modality 'audio': expected shape \(B, D\) = \(4, 3\), got \(4, 5\)",
    ),
    (
        {"features": {"audio": F0, "text": F1}},
        ValueError,
        r"features: expected the modalities \['audio', 'video'\], got \['audio', 'text'\]",
    ),
    ({"labels": LABELS.float()}, TypeError, "labels: expected class indices of an integer dtype, got torch.float32"),
    ({"labels": [0, 1, 2, 0]}, TypeError, "labels: expected a tensor, got list"),
    ({"labels": torch.zeros(4, 2)}, ValueError, r"labels: expected shape \(B, C\), one-hot = \(\?, 3\), got \(4, 2\)"),
    (
        {"labels": torch.eye(3)[LABELS]},
        TypeError,
        r"labels: expected class indices \(B,\) or one-hot rows .*, got torch\.float32; soft labels are not supported: "
        r".* takes one class of each row, multi_label=True takes rows of 0 and 1$",
    ),
    (
        {"labels": torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]])},
        ValueError,
        r"labels: expected one-hot rows \(.*multi_label=True\), got \[1, 0, 1\] in sample 2, and 1 more of 4",
    ),
    ({"labels": 2 * torch.eye(3)[LABELS].int()}, ValueError, r"labels: expected one-hot rows .*got \[2, 0, 0\] in"),
    (
        {"features": [F0, F1.reshape(4, 5, 1, 1)]},
        ValueError,
        r"features of modality 'video': .*\(4, 5\), got \(4, 5, 1, 1\); pass x\.flatten\(1\)",
    ),
    (
        {"features": [F0, F1[:, None].expand(4, 7, 5)]},
        ValueError,
        r"\(4, 5\), got \(4, 7, 5\); make one row of each sample, such as x\.mean\(dim=1\) of a sequence",
    ),
    (
        {"labels": LABELS[:, None]},
        ValueError,
        r"labels: expected shape \(B,\), got \(4, 1\); pass labels\.squeeze\(1\)",
    ),
    (
        {"head": lambda x: x[:, :3].long()},
        TypeError,
        "output of the head: expected a real floating dtype, got torch.int64",
    ),
    (
        {"features": [F0, F1.bfloat16()]},
        TypeError,
        r"'video': expected the dtype of its head, torch\.float32, got .*bfloat16; call .* under the same autocast",
    ),
    ({"features": [F0.double(), F1]}, TypeError, r"got torch\.float64; pass x\.to\(torch\.float32\)"),
    (
        {"head": HEAD_OF_DOUBLES},
        TypeError,
        r"'audio': expected the dtype of the head, torch\.float64, got torch\.float32; pass x\.to\(torch\.float64\)",
    ),
    ({"head": nn.Sequential(HEAD_OF_DOUBLES, nn.ReLU())}, TypeError, "expected the dtype of the head, torch.float64"),
    (
        {"features": [F0, Output(last_hidden_state=F1)]},
        TypeError,
        "'video': expected a tensor, got Output; take one of its tensors, such as pooler_output",
    ),
    (
        {"features": [F0, (F1, F1)]},
        TypeError,
        "'video': expected a tensor with head_input='concatenated', got tuple; pass head_input='separate'",
    ),
    ({"head": lambda x: Output(logits=x)}, TypeError, "head: expected to return a tensor, got Output; take its logits"),
    ({"labels": torch.zeros(4, 3, 1).int()}, ValueError, r"labels: expected shape \(B,\), got \(4, 3, 1\)"),
    ({"labels": LABELS[:0]}, ValueError, r"'audio': expected shape \(B, D\) with B = 0 as in labels, got \(4, 3\)"),
    ({"permutation": torch.arange(3)}, ValueError, r"permutation: expected shape \(B,\) = \(4,\), got \(3,\)"),
    ({"labels": LABELS - 1}, ValueError, r"labels: expected whole numbers in 0 \.\.\. 2, got -1 in sample 0"),
    ({"labels": LABELS + 1}, ValueError, r"labels: expected whole numbers in 0 \.\.\. 2, got 3 in sample 2"),
    (
        {"permutation": torch.tensor([1, 2, -1, 0])},
        ValueError,
        r"permutation: expected whole numbers in 0 \.\.\. 3, got -1 in sample 2",
    ),
    ({"permutation": torch.zeros(4)}, TypeError, "permutation: expected an integer dtype, got .*float32"),
    ({"generator": 0}, TypeError, r"generator: expected a torch\.Generator, got int"),
    ({"features": [None, F1]}, TypeError, "'audio': expected a tensor, got None; .*pass zeros, and present="),
    (
        {"features": [F0.to_sparse(), F1]},
        TypeError,
        r"'audio': expected a dense tensor, got layout torch\.sparse_coo; pass x\.to_dense\(\)",
    ),
    (
        {"features": [F0, torch.nested.nested_tensor([torch.zeros(2, 5), torch.zeros(3, 5)], layout=torch.jagged)]},
        TypeError,
        "'video': expected a dense tensor, got a nested one; make one row of each sample",
    ),
    (
        {"features": [F0, nn.utils.rnn.pack_sequence([torch.zeros(2, 5), torch.zeros(1, 5)])]},
        TypeError,
        "'video': expected a tensor, got PackedSequence; pass the tensor of .*pad_packed_sequence",
    ),
    (
        {"head": nn.Sequential(HEAD, nn.Softmax(dim=1))},
        ValueError,
        r"output of the head: expected logits, got probabilities \(every row >= 0 with sum 1\): leave the softmax out",
    ),
    ({"head": lambda x: None}, TypeError, "head: expected to return a tensor, got NoneType"),
    (
        {"head": nn.Sequential(HEAD, nn.Linear(3, 4))},
        ValueError,
        r"output of the head: expected shape \(B, C\) = \(12, 3\)",
    ),
    ({"head": nn.Linear(9, 3)}, ValueError, r"weight of the head: expected shape \(C, D\) = \(3, 8\), got \(3, 9\)"),
    ({"sample_weight": [1.0] * 4}, TypeError, "sample_weight: expected a tensor, got list"),
    ({"sample_weight": torch.ones(3)}, ValueError, r"sample_weight: expected shape \(B,\) = \(4,\), got \(3,\)"),
    ({"present": HERE}, ValueError, r"present: expected shape \(B, M\) = \(4, 2\), got \(4,\)"),
    ({"present": torch.ones(4, 2)}, TypeError, "present: expected dtype bool, got torch.float32"),
    ({"present": {"audio": HERE}}, ValueError, r"present: .*'video'\], got \['audio'\]"),
    ({"present": {"audio": HERE, "video": HERE[:3]}}, ValueError, "present of modality 'video': expected shape"),
    ({"present": {"audio": HERE, "video": True}}, TypeError, "present of modality 'video': .* tensor, got bool"),
]
OF_OPTIONS = [
    ({"multi_label": True}, {}, r"labels: expected shape \(B, C\) = \(\?, 3\), got \(4,\)"),
    ({"variant": "official"}, {"present": torch.stack([HERE, HERE], 1)}, "present: expected None with variant"),
]


@pytest.mark.parametrize(("change", "kind", "message"), CALLS, ids=[e[2][:60] for e in CALLS])
def test_calls(change, kind, message):
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS)
    arguments = {"features": [F0, F1], "labels": LABELS, "head": HEAD} | change
    with pytest.raises(kind, match=message):
        criterion(arguments.pop("features"), arguments.pop("labels"), **arguments)
    assert criterion.step == 0


@pytest.mark.parametrize("permutation", [None, torch.tensor([1, 2, 3, 0])])
def test_a_label_below_zero_is_no_class_counted_from_the_end(permutation):
    criterion, head = MidasLoss(num_classes=3, feature_dims=[3, 5, 3]), nn.Linear(11, 3)
    with pytest.raises(ValueError, match="labels: expected whole numbers"):
        criterion([F0, F1, F0], LABELS - 1, head=head, permutation=permutation)


@pytest.mark.parametrize(("options", "given", "message"), OF_OPTIONS, ids=["several labels", "official"])
def test_calls_that_an_option_refuses(options, given, message):
    with pytest.raises(ValueError, match=message):
        MidasLoss(num_classes=3, feature_dims=DIMS, **options)([F0, F1], LABELS, head=HEAD, **given)


def test_a_unimodal_head_of_another_number_of_classes():
    given = {"audio": nn.Linear(3, 4), "video": nn.Linear(5, 3)}
    message = r"output of the unimodal head of modality 'audio': expected shape \(B, C\) = \(4, 3\), got \(4, 4\)"
    with pytest.raises(ValueError, match=message):
        MidasLoss(num_classes=3, unimodal_heads=given)([F0, F1], LABELS, head=HEAD)


SOFT = nn.Sequential(HEAD, nn.Softmax(dim=1))


def test_probabilities_are_recognised_in_the_first_batch_of_each_phase_and_wherever_values_are_checked():
    softmax = [nn.Sequential(nn.Linear(d, 3), nn.Softmax(dim=1)) for d in (3, 5)]
    message = "output of the unimodal head of modality 0: expected logits, got probabilities"
    for dtype in (torch.float32, torch.bfloat16):
        unimodal = MidasLoss(num_classes=3, unimodal_heads=softmax).to(dtype)
        with pytest.raises(ValueError, match=message):
            unimodal([F0.to(dtype), F1.to(dtype)], LABELS, head=nn.Linear(8, 3, dtype=dtype))
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS)
    criterion([F0, F1], LABELS, head=HEAD)
    criterion([F0, F1], LABELS, head=SOFT)
    for phase in (criterion.eval(), MidasLoss(num_classes=3, feature_dims=DIMS, check=True)):
        if phase.check:
            phase([F0, F1], LABELS, head=HEAD)
        with pytest.raises(ValueError, match="output of the head: expected logits, got probabilities"):
            phase([F0, F1], LABELS, head=SOFT)
    # Probabilities of several labels do not sum to one, and one-hot rows are a table of logits.
    rows = torch.eye(3)[LABELS]
    MidasLoss(num_classes=3, feature_dims=DIMS, multi_label=True)([F0, F1], rows, head=SOFT)
    MidasLoss(num_classes=3, feature_dims=DIMS)([F0, F1], LABELS, head=lambda x: x[:, :3] + torch.eye(3)[0])


@pytest.mark.parametrize("value", [-1.0, -100.0, 2.0, 0.3, float("nan")])
def test_labels_other_than_zero_and_one_are_refused(value):
    rows = torch.eye(3)[LABELS]
    rows[1, 2] = value
    message = f"labels: expected 0 or 1 for each class, got .*{value}.* in sample 1$"
    for module in (
        MidasLoss(num_classes=3, feature_dims=[3, 5], multi_label=True),
        Misalign(num_classes=3, multi_label=True),
    ):
        arguments = {"head": HEAD} if isinstance(module, MidasLoss) else {}
        with pytest.raises(ValueError, match=message):
            module([F0, F1], rows, **arguments)


@pytest.mark.parametrize("epoch", [-1, 1.5, None])
def test_epoch(epoch):
    with pytest.raises((TypeError, ValueError), match=f"epoch: expected a whole number >= 0, got {epoch}"):
        MidasLoss(num_classes=3, feature_dims=DIMS).set_epoch(epoch)


def test_head_is_required():
    with pytest.raises(TypeError, match="head"):
        MidasLoss(num_classes=3, feature_dims=DIMS)([F0, F1], LABELS)
