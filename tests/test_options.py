"""The options of the loss: each written and checked once, with one wording, in both adapters."""

import ast
import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np
import pytest

import midas_core
from midas_core.modalities import Modalities
from midas_core.options import MAX_SEED, MidasOptions, Option, check_seed, read_class_weights

DEFAULTS = {
    "weight": 1.0,
    "eta": 0.05,
    "warmup_epochs": 0,
    "aligned_from": None,
    "variant": "paper",
    "reduction": "mean",
    "similarity": "cosine",
    "alpha_update": "sign",
    "max_alpha": None,
    "initial_alpha": 1.0,
    "label_smoothing": 0.0,
    "class_weights": None,
    "multi_label": False,
    "head_input": "concatenated",
    "absent_share": 0.0,
    "seed": None,
}
CHOICES = {
    "variant": ("paper", "official"),
    "reduction": ("mean", "sum", "none"),
    "similarity": ("cosine", "l2", None),
    "alpha_update": ("sign", "difference"),
    "head_input": ("concatenated", "separate"),
}


def test_defaults():
    assert MidasOptions().as_dict() == DEFAULTS
    assert [each.name for each in fields(MidasOptions)] == list(DEFAULTS)
    with pytest.raises(FrozenInstanceError):
        MidasOptions().weight = 2.0


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    for value in CHOICES[name]:
        assert getattr(MidasOptions(**{name: value}), name) == value


WRONG_VALUES = {
    "weight: expected a finite number >= 0, got -0.1": {"weight": -0.1},
    "weight: expected a finite number >= 0, got inf": {"weight": float("inf")},
    "weight: expected a finite number >= 0, got nan": {"weight": float("nan")},
    "absent_share: expected a number in [0, 1], got 1.5": {"absent_share": 1.5},
    "absent_share: expected 0 with variant 'official', got 0.5": {"absent_share": 0.5, "variant": "official"},
    "eta: expected a finite number >= 0, got -1": {"eta": -1},
    "eta: expected a finite number >= 0, got inf": {"eta": float("inf")},
    "warmup_epochs: expected a whole number >= 0, got -1": {"warmup_epochs": -1},
    "aligned_from: expected a whole number >= warmup_epochs = 3, got 2": {"aligned_from": 2, "warmup_epochs": 3},
    "initial_alpha: expected a finite number >= 1, got 0.9": {"initial_alpha": 0.9},
    "max_alpha: expected a finite number >= 1, got 0.9": {"max_alpha": 0.9},
    "max_alpha: expected a number >= initial_alpha = 2, got 1.5": {"max_alpha": 1.5, "initial_alpha": 2.0},
    "label_smoothing: expected a number in [0, 1], got 1.1": {"label_smoothing": 1.1},
    "label_smoothing: expected a number in [0, 1], got -0.1": {"label_smoothing": -0.1},
    "seed: expected a whole number >= 0, got -1": {"seed": -1},
    "seed: expected a whole number < 2**31, got 2147483648": {"seed": 2**31},
    "class_weights[1]: expected a finite number >= 0, got -1": {"class_weights": [1, -1]},
    **{f"{name}: expected one of {list(values)}, got 'other'": {name: "other"} for name, values in CHOICES.items()},
}
WRONG_TYPES = {
    "weight: expected a finite number >= 0, got 'big'": {"weight": "big"},
    "eta: expected a finite number >= 0, got True": {"eta": True},
    "warmup_epochs: expected a whole number >= 0, got 1.5": {"warmup_epochs": 1.5},
    "aligned_from: expected a whole number >= 0, got 2.0": {"aligned_from": 2.0},
    "label_smoothing: expected a number in [0, 1], got 'a'": {"label_smoothing": "a"},
    "label_smoothing: expected a number in [0, 1], got None": {"label_smoothing": None},
    "multi_label: expected True or False, got 1": {"multi_label": 1},
    "seed: expected a whole number >= 0, got 0.5": {"seed": 0.5},
    "class_weights: expected a sequence of numbers, one each, got float": {"class_weights": 1.0},
    "class_weights: expected a sequence of numbers, one each, got dict": {"class_weights": {0: 1.0}},
}
WRONG_OPTIONS = {(ValueError, message): given for message, given in WRONG_VALUES.items()}
WRONG_OPTIONS |= {(TypeError, message): given for message, given in WRONG_TYPES.items()}
"""Options that do not fit, by kind of error and message; the adapters refuse them with the same words."""


@pytest.mark.parametrize(("kind", "message"), WRONG_OPTIONS)
def test_what_does_not_fit(kind, message):
    with pytest.raises(kind) as error:
        MidasOptions(**WRONG_OPTIONS[kind, message])
    assert (type(error.value), str(error.value)) == (kind, message)


def test_the_edges_fit():
    edges = {"weight": 0, "eta": 0, "warmup_epochs": 0, "initial_alpha": 1, "max_alpha": 1, "label_smoothing": 1}
    found = MidasOptions(**edges, seed=0, class_weights=[0])
    assert {name: getattr(found, name) for name in edges} == edges
    assert (found.seed, found.class_weights) == (0, (0.0,))
    assert MidasOptions(seed=MAX_SEED).seed == 2**31 - 1
    assert MidasOptions(initial_alpha=2.0, max_alpha=2.0).max_alpha == 2.0
    assert MidasOptions(label_smoothing=0).label_smoothing == 0
    assert MidasOptions(warmup_epochs=2, aligned_from=np.int64(2)).aligned_from == 2


def test_numbers_of_numpy_become_pythons():
    found = MidasOptions(
        weight=np.float32(2),
        eta=np.float64(0.5),
        warmup_epochs=np.int64(3),
        initial_alpha=np.float32(1.5),
        max_alpha=np.float32(4),
        label_smoothing=np.float32(0.5),
        seed=np.int64(7),
        class_weights=np.array([1.0, 2.0]),
    )
    for name in ("weight", "eta", "initial_alpha", "max_alpha", "label_smoothing"):
        assert type(getattr(found, name)) is float, name
    assert type(found.warmup_epochs) is int
    assert type(found.seed) is int
    assert found.class_weights == (1.0, 2.0)
    assert check_seed(None) is None
    assert read_class_weights((1, 2.5)) == (1.0, 2.5)
    assert type(read_class_weights([1])[0]) is float


def test_modalities_and_classes_fit():
    MidasOptions(variant="official", class_weights=[1, 2]).check_fits(2, 2)
    MidasOptions().check_fits(3, 5)
    with pytest.raises(ValueError, match="official") as error:
        MidasOptions(variant="official").check_fits(3, 2)
    assert str(error.value) == "variant: 'official' is defined for 2 modalities only, got 3"
    with pytest.raises(ValueError, match="class_weights") as error:
        MidasOptions(class_weights=[1, 2]).check_fits(2, 3)
    assert str(error.value) == "class_weights: expected 3 numbers, one for each class, got 2"


def test_how_alpha_moves():
    options = MidasOptions(eta=0.5, variant="official", alpha_update="difference", max_alpha=3.0)
    assert options.alpha_rule == {"eta": 0.5, "variant": "official", "alpha_update": "difference", "max_alpha": 3.0}


def test_an_option_as_an_attribute():
    class Holder:
        weight, variant, warmup_epochs, aligned_from = Option(), Option(), Option(), Option()
        modalities, num_classes = Modalities([1, 2, 3], "features"), 4

        def __init__(self):
            self.options = MidasOptions(weight=2.0, warmup_epochs=2)

    holder = Holder()
    holder.aligned_from, holder.weight = 5, 3
    assert holder.options == MidasOptions(weight=3, warmup_epochs=2, aligned_from=5)
    for name, value, message in (
        ("weight", -1, "weight: expected a finite number >= 0, got -1"),
        ("warmup_epochs", 6, "aligned_from: expected a whole number >= warmup_epochs = 6, got 5"),
        ("variant", "official", "variant: 'official' is defined for 2 modalities only, got 3"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            setattr(holder, name, value)
    assert holder.options == MidasOptions(weight=3, warmup_epochs=2, aligned_from=5)
    assert Holder.weight.__doc__ == "Option ``weight``."


PACKAGE = Path(midas_core.__file__).parent
ADAPTERS = ("torch", "keras")
OWN = {"torch": {"check"}, "keras": set()}
"""Options that one adapter alone has."""


def read_class(path: Path, name: str) -> ast.ClassDef:
    found = [x for x in ast.parse(path.read_text()).body if isinstance(x, ast.ClassDef) and x.name == name]
    return found[0]


def loss_of(adapter: str) -> ast.ClassDef:
    # Read, not imported: Keras takes one backend in a process.
    return read_class(PACKAGE / "adapters" / adapter / "loss.py", "MidasLoss")


def signature(node: ast.ClassDef) -> dict[str, object]:
    (init,) = [x for x in node.body if isinstance(x, ast.FunctionDef) and x.name == "__init__"]
    arguments, defaults = init.args.kwonlyargs, init.args.kw_defaults
    return {a.arg: ... if d is None else ast.literal_eval(d) for a, d in zip(arguments, defaults, strict=True)}


def texts(node: ast.ClassDef, section: str) -> dict[str, str]:
    """Return what the docstring says of each entry of a section, on one line."""
    doc = ast.get_docstring(node) or ""
    part = re.split(r"^\w[\w ]*\n-+\n", doc.partition(f"{section}\n{'-' * len(section)}\n")[2], flags=re.MULTILINE)[0]
    entries = re.findall(r"^(\w+) : .*\n((?: {4}.*\n?|\n)*)", part, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_option_with_its_default(adapter):
    found = signature(loss_of(adapter))
    beside = {"num_classes", "feature_dims", "unimodal_heads"}
    assert {name: x for name, x in found.items() if name not in beside | OWN[adapter]} == DEFAULTS
    assert [name for name in found if name in DEFAULTS] == list(DEFAULTS), "one order"
    assert beside | OWN[adapter] <= set(found)


def test_both_adapters_document_an_option_alike():
    documented = {adapter: texts(loss_of(adapter), "Parameters") for adapter in ADAPTERS}
    for adapter, entries in documented.items():
        assert set(entries) >= set(DEFAULTS) | OWN[adapter]
    for name in DEFAULTS:
        sentences = {entries[name].partition(". ")[0].removesuffix(".") for entries in documented.values()}
        assert len(sentences) == 1, sentences
