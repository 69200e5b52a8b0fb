"""How the heads are run: the fused one from partial products where it is additive, else on the mixed samples too."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.masks import mask_of, mixed_masks, with_mask
from midas_core.backends import Array
from midas_core.modalities import Modalities
from midas_core.pairing import Pairs, fill_rows, mix
from midas_core.partners import VIEWS

ops = keras.ops
Layer = keras.layers.Layer


class HeadRun(NamedTuple):
    """Logits of shape (B, C), and the partial products that they are the sum of, if any."""

    logits: Array
    products: list[Array] | None


class FusedHead:
    """A fused head, and what it takes.

    Parameters
    ----------
    head : callable or layer
        From the features to (B, C) logits.
    head_input : {"concatenated", "separate"}
    modalities : Modalities
    num_classes : int
        Number of classes, C.
    training : bool
    like : list, tuple or dict, optional
        Structure of the features, for "separate"; without it, a list, or a dict where the modalities have names.
    """

    def __init__(
        self,
        head: Callable[..., Array],
        head_input: str,
        modalities: Modalities,
        num_classes: int,
        *,
        training: bool,
        like: Any = None,
    ) -> None:
        self._head = head
        self._concatenated = head_input == "concatenated"
        self._modalities = modalities
        self._num_classes = num_classes
        self._more = {"training": training} if isinstance(head, Layer) else {}
        names = modalities.names
        self._like = dict.fromkeys(names) if like is None and names is not None else like

    def __call__(self, features: Sequence[Array]) -> Array:
        """Return the logits, shape (B, C)."""
        packed = self._modalities.pack
        given = _concatenate(features) if self._concatenated else packed(features, self._like)
        logits = self._head(given, **self._more)
        check_logits("head", logits, self._num_classes)
        return logits

    def run(self, features: Sequence[Array]) -> HeadRun:
        """Return the logits, from partial products where the head is additive."""
        products = self._products(features)
        return HeadRun(self(features) if products is None else _sum(products), products)

    def mixed(self, features: Sequence[Array], products: list[Array] | None, pairs: Pairs) -> Array:
        """Return the logits of the mixed samples, shape (V, B, C).

        With partial products that is z~_i = b + sum_m f^m[S[m, i]] W_m, which takes no further matrix product.
        """
        if products is not None:
            mixed = mix(products, pairs.sources, backend=BACKEND)
            # The first product holds the bias, which stays.
            absent = pairs.absent
            nothing = None if absent is None else self._products([ops.zeros_like(x[:1]) for x in features])
            if absent is not None and nothing is not None:
                mixed = [fill_rows(x, absent[m], nothing[m], BACKEND) for m, x in enumerate(mixed)]
            return _sum(mixed)
        mixed = mix(features, pairs.sources, absent=pairs.absent, backend=BACKEND)
        flat = [ops.reshape(x, (-1, *ops.shape(x)[2:])) for x in mixed]
        logits = self(mixed_masks(features, flat, pairs.sources))
        return ops.reshape(logits, (VIEWS, -1, self._num_classes))

    def _products(self, features: Sequence[Array]) -> list[Array] | None:
        """Return the partial products f^m W_m, the bias in the first; None unless the head is additive."""
        head: Any = self._head
        widths = [x.shape[1] for x in features if len(x.shape) == 2]
        if not (self._concatenated and _is_additive(head) and len(widths) == len(features)):
            return None
        kernel, bias = _in_compute_dtype(head, head.kernel), head.bias
        if kernel.shape[0] != sum(widths):
            return None  # Keras says best what does not fit.
        found, start = [], 0
        for feature, width in zip(features, widths, strict=True):
            found.append(ops.matmul(_in_compute_dtype(head, feature), kernel[start : start + width]))
            start += width
        if bias is not None:
            found[0] = found[0] + _in_compute_dtype(head, bias)
        return found


def check_logits(name: str, logits: Any, num_classes: int) -> None:
    """Raise ``ValueError`` unless ``logits`` has shape (B, C)."""
    shape = tuple(getattr(logits, "shape", ()))
    if len(shape) != 2 or shape[1] != num_classes:
        raise ValueError(f"output of the {name}: expected shape (B, C) = (?, {num_classes}), got {shape}")


def final_activation(part: Any) -> str | None:
    """Return the softmax or sigmoid that a layer, a model or an operation ends in, or None."""
    if isinstance(part, keras.Sequential):
        return final_activation(part.layers[-1]) if part.layers else None
    if isinstance(part, keras.Model):
        outputs = keras.tree.flatten(getattr(part, "outputs", None) or [])
        return final_activation(outputs[0]._keras_history[0]) if len(outputs) == 1 else None
    if type(part).__name__ in ("Softmax", "Sigmoid"):  # The layer, or the operation of keras.ops.
        return type(part).__name__.lower()
    names = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
    activation = getattr(part, "activation", None)
    return names.get(activation) if callable(activation) else None


def check_no_activation(name: str, head: Any, num_classes: int) -> None:
    """Raise ``ValueError`` if a head gives probabilities, which the loss would take for logits.

    What a class of the user's own computes is not known before it runs: where such a head holds a softmax of C units,
    there is a warning.
    """
    found = final_activation(head)
    if found is not None:
        raise ValueError(
            f"{name}: expected logits, got a layer that ends in {found!r}; leave that out, and where predictions are "
            f"to be probabilities, say MidasModel(..., probabilities={found!r})"
        )
    known = isinstance(head, keras.Sequential) or getattr(head, "outputs", None)
    inside = head._flatten_layers(include_self=False) if isinstance(head, Layer) and not known else ()
    if any(getattr(x, "units", None) == num_classes and final_activation(x) == "softmax" for x in inside):
        warnings.warn(
            f"{name}: expected logits; {type(head).__name__} holds a Dense layer of {num_classes} units with softmax. "
            "Where that ends the head, leave it out and say MidasModel(..., probabilities='softmax')",
            stacklevel=3,
        )


def check_layers(argument: str, items: Sequence[Any], modalities: Modalities) -> None:
    """Raise ``TypeError`` unless every item is a Keras layer."""
    for m, item in enumerate(items):
        if not isinstance(item, Layer):
            raise TypeError(
                f"{argument} of {modalities.title(m)}: expected a Keras layer or model, got {type(item).__name__}"
            )


def check_width(name: str, head: Any, num_classes: int) -> None:
    """Raise ``ValueError`` if a head that knows its width does not give C logits."""
    width = getattr(head, "units", None)
    if width is None and isinstance(head, keras.Model) and head.built:
        shape = getattr(head, "output_shape", None)
        width = shape[-1] if isinstance(shape, tuple) else None
    if width is not None and width != num_classes:
        raise ValueError(f"{name}: expected {num_classes} logits, as many as num_classes, got {width}")


def head_precision(variable_dtype: str) -> str:
    """Return the dtype of heads that the library makes: logits are never in half precision."""
    return "float64" if variable_dtype == "float64" else "float32"


def _is_additive(head: Any) -> bool:
    # A subclass may compute something else.
    return (
        type(head) is keras.layers.Dense
        and head.built
        and head.activation is keras.activations.linear
        and head.activity_regularizer is None
        and head.quantization_mode is None
    )


def _in_compute_dtype(head: Any, x: Any) -> Array:
    return ops.cast(ops.convert_to_tensor(x), head.compute_dtype)


def _concatenate(features: Sequence[Array]) -> Array:
    """Concatenate along axis 1, and so the masks of sequences; a sequence without one is no padding."""
    masks = [mask_of(x) for x in features]
    whole = ops.concatenate(list(features), axis=1)
    if all(mask is None for mask in masks):
        return whole
    each = [
        ops.ones(ops.shape(x)[:2], "bool") if mask is None else mask for x, mask in zip(features, masks, strict=True)
    ]
    return with_mask(whole, ops.concatenate(each, axis=1))


def _sum(products: Sequence[Array]) -> Array:
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total
