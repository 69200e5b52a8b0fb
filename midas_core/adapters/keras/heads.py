"""The heads: how they are run, and the checks that they give logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from midas_core.adapters.keras.backend import BACKEND, eager, host_values, keras
from midas_core.adapters.keras.masks import concatenate, join_masks, split_masks
from midas_core.backends import Array
from midas_core.modalities import Modalities, map_leaves
from midas_core.pairing import Pairs, fill_rows, mix
from midas_core.partners import VIEWS
from midas_core.validation import are_probabilities

ops = keras.ops
Layer = keras.layers.Layer


class HeadRun(NamedTuple):
    """Logits of shape (B, C), and the partial products that they are the sum of, if any."""

    logits: Array
    products: list[Array] | None


class FusedHead:
    """A fused head, run from partial products where it is additive, else on the mixed samples too."""

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
        self._options = {"training": training} if isinstance(head, Layer) else {}
        self._like = like

    def __call__(self, features: Sequence[Array]) -> Array:
        """Return the logits, shape (B, C), of features that may have masks attached."""
        return self.run(split_masks(features)).logits

    def run(self, features: Sequence[Any]) -> HeadRun:
        """Return the logits, from partial products where the head is additive."""
        products = self._products(features)
        return HeadRun(self._logits(features) if products is None else sum(products[1:], products[0]), products)

    def mixed(self, features: Sequence[Any], products: list[Array] | None, pairs: Pairs) -> Array:
        """Return the logits of the mixed samples, shape (V, B, C)."""
        if products is not None:  # z~_i = b + sum_m f^m[S[m, i]] W_m takes no further matrix product
            mixed = mix(products, pairs.sources, backend=BACKEND)
            # The first product holds the bias, which stays.
            absent = pairs.absent
            nothing = None if absent is None else self._products([ops.zeros_like(x[:1]) for x in features])
            if absent is not None and nothing is not None:
                mixed = [fill_rows(x, absent[m], nothing[m], BACKEND) for m, x in enumerate(mixed)]
            return sum(mixed[1:], mixed[0])
        mixed = [
            map_leaves(lambda x: ops.reshape(x, (-1, *ops.shape(x)[2:])), modality)
            for modality in mix(features, pairs, backend=BACKEND)
        ]
        with kept_statistics(self._head):
            logits = self._logits(mixed)
        return ops.reshape(logits, (VIEWS, -1, self._num_classes))

    def _logits(self, features: Sequence[Any]) -> Array:
        pack = self._modalities.pack
        whole = concatenate(features) if self._concatenated else pack(join_masks(features), self._like)
        logits = self._head(whole, **self._options)
        check_logits("head", logits, self._num_classes)
        return logits

    def _products(self, features: Sequence[Any]) -> list[Array] | None:
        """Return the partial products f^m W_m, the bias in the first; None unless the head is additive."""
        head: Any = self._head
        widths = [x.shape[1] for x in features if not isinstance(x, dict) and len(x.shape) == 2]
        if not (self._concatenated and _is_additive(head) and len(widths) == len(features)):
            return None
        kernel, bias = _in_compute_dtype(head, head.kernel), head.bias
        if kernel.shape[0] != sum(widths):
            return None  # Keras says best what does not fit.
        products, start = [], 0
        for feature, width in zip(features, widths, strict=True):
            products.append(ops.matmul(_in_compute_dtype(head, feature), kernel[start : start + width]))
            start += width
        if bias is not None:
            products[0] = products[0] + _in_compute_dtype(head, bias)
        return products


def run_unimodal(
    heads: Sequence[Any], features: Sequence[Any], modalities: Modalities, num_classes: int, training: bool
) -> list[Array]:
    """Return the logits of the unimodal heads, M of shape (B, C)."""
    logits = [head(x, training=training) for head, x in zip(heads, join_masks(features), strict=True)]
    for m, z in enumerate(logits):
        check_logits(f"unimodal head of {modalities.title(m)}", z, num_classes)
    return logits


@contextmanager
def kept_statistics(head: Any) -> Iterator[None]:
    """Leave the moving statistics of batch normalisation as they are: mixed samples are no samples of the data."""
    layers = head._flatten_layers() if isinstance(head, Layer) else ()
    moving = [
        variable
        for layer in layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.built
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    before = [variable.value * 1 for variable in moving]
    yield
    for variable, value in zip(moving, before, strict=True):
        variable.assign(value)


def check_logits(name: str, logits: Any, num_classes: int) -> None:
    """Raise ``ValueError`` unless ``logits`` has shape (B, C)."""
    shape = tuple(getattr(logits, "shape", ()))
    if len(shape) != 2 or shape[1] != num_classes:
        raise ValueError(f"output of the {name}: expected shape (B, C) = (?, {num_classes}), got {shape}")


def check_vectors(features: Sequence[Any], modalities: Modalities) -> None:
    """Raise ``ValueError`` unless features are vectors, as the heads that the library makes take them."""
    for m, feature in enumerate(features):
        if len(feature.shape) != 2:
            raise ValueError(
                f"features of {modalities.title(m)}: expected shape (B, D), got {feature.shape}; sequences and images "
                "take heads of their own, head= with head_input='separate' and unimodal_heads=, or an encoder that "
                "pools them"
            )


def final_activation(part: Any) -> str | None:
    """Return the softmax or sigmoid that a layer, a model or an operation ends in, or None."""
    if isinstance(part, keras.Sequential):
        return final_activation(part.layers[-1]) if part.layers else None
    if isinstance(part, keras.Model):
        outputs = keras.tree.flatten(getattr(part, "outputs", None) or [])
        return final_activation(outputs[0]._keras_history[0]) if len(outputs) == 1 else None
    if type(part).__name__ in ("Softmax", "Sigmoid"):  # The layer, or the operation of keras.ops.
        return type(part).__name__.lower()
    activation = getattr(part, "activation", None)
    return _kind(activation) if callable(activation) else None


@lru_cache(maxsize=256)
def _kind(activation: Callable[[Array], Array]) -> str | None:
    """Return whether a function is a softmax or a sigmoid, whoever wrote it: ``tf.nn.softmax``, ``jax.nn.softmax``."""
    known = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid", keras.activations.linear: None}
    if activation in known:
        return known[activation]
    x = np.array([[-1.0, 0.5, 2.0], [30.0, -3.0, 0.0]], "float32")
    try:
        with eager():
            z = ops.convert_to_tensor(x)
            y = host_values(activation(z))
            outputs = {kind: host_values(function(z)) for function, kind in known.items() if kind}
    except Exception:
        return None
    if y is None or y.shape != x.shape:
        return None
    close = (kind for kind, output in outputs.items() if output is not None and np.allclose(y, output, atol=1e-3))
    return next(close, None)


def check_no_activation(name: str, head: Any) -> None:
    """Raise ``ValueError`` if a head ends in a softmax or sigmoid, which the loss would take for logits."""
    kind = final_activation(head)
    if kind is not None:
        raise ValueError(
            f"{name}: expected logits, got a layer that ends in {kind!r}; leave that out, and where predictions are "
            f"to be probabilities, say MidasModel(..., probabilities={kind!r})"
        )


def check_values(name: str, logits: Any) -> None:
    """Raise ``ValueError`` if logits that are on the host are probabilities."""
    values = host_values(logits)
    if values is not None and are_probabilities(values):
        raise ValueError(
            f"{name}: expected logits, got probabilities: every row is >= 0 and sums to 1; leave the softmax out, and "
            "where predictions are to be probabilities, say MidasModel(..., probabilities='softmax'); where a model is "
            "cut by from_functional, head= names the layer before the softmax"
        )


def is_linear(head: Any) -> bool:
    """Return whether a head is a Dense layer without activation: it gives logits."""
    return type(head) is keras.layers.Dense and head.activation is keras.activations.linear


def try_heads(model: Any) -> None:
    """Raise ``ValueError`` if a head of the user gives probabilities; once, as soon as the heads have weights."""
    if model.heads_tried or not model.built:
        return
    model.heads_tried = True
    symbols = model.feature_symbols
    _try_head("head", model.head, symbols, model.fused_head())
    for m, (head, symbol) in enumerate(zip(model.unimodal_heads, symbols, strict=True)):
        name = f"unimodal head of {model.modalities.title(m)}"
        _try_head(name, head, [symbol], partial(_run_first, head))


def _run_first(head: Any, features: list[Array]) -> Array:
    return head(features[0], training=False)


def _try_head(name: str, head: Any, symbols: Sequence[Any], run: Callable[[list[Array]], Array]) -> None:
    """Raise ``ValueError`` if a head gives probabilities for drawn features, of the shapes and dtypes of symbols."""
    if is_linear(head) or not all(keras.backend.is_float_dtype(x.dtype) for x in symbols):
        return
    rng = np.random.default_rng(0)
    shapes = [(4, *(4 if size is None else size for size in x.shape[1:])) for x in symbols]
    values = [ops.convert_to_tensor(rng.normal(size=shape), dtype=symbols[0].dtype) for shape in shapes]
    try:
        logits = run(values)
    except Exception:  # A head that takes no such features says so in the step.
        return
    check_values(name, logits)


def read_heads(
    head: Any, unimodal_heads: Any, head_input: str, modalities: Modalities, num_classes: int, variable_dtype: str
) -> tuple[Any, list[Any]]:
    """Return the fused and the unimodal heads, linear ones in place of None, or raise where one does not fit."""
    precision = head_precision(variable_dtype)
    if head is None:
        if head_input != "concatenated":
            raise ValueError("head_input: expected 'concatenated' with the default head, got 'separate'")
        head = keras.layers.Dense(num_classes, dtype=precision, name="head")
    elif not isinstance(head, Layer):
        raise TypeError(f"head: expected a Keras layer or model, got {type(head).__name__}")
    check_head("head", head, num_classes)
    if unimodal_heads is not None:
        heads = modalities.unpack(unimodal_heads, "unimodal_heads")
        check_heads("unimodal_heads", heads, modalities, num_classes)
        return head, heads
    for name in modalities.shown_names:
        if "/" in name:
            raise ValueError(f"encoders: expected names of modalities without '/', got {name!r}")
    names = [f"head_{name}" for name in modalities.shown_names]
    return head, [keras.layers.Dense(num_classes, dtype=precision, name=name) for name in names]


def check_head_learns(head: Any, criterion: Any) -> None:
    """Raise ``TypeError`` where a step of JAX would take the weights of a layer for constants: their gradient is 0."""
    if BACKEND.name != "jax" or not isinstance(head, Layer):
        return
    from jax.core import Tracer

    def traced(layer: Any) -> bool:
        return any(isinstance(variable.value, Tracer) for variable in layer.trainable_variables)

    if head.trainable_variables and traced(criterion) and not traced(head):
        raise TypeError(
            "head: expected a function of the features in a stateless call, as lambda z: head.stateless_call("
            f"trainable_variables, non_trainable_variables, z)[0], got the layer {head.name!r}, whose weights would be "
            "constants there: it would not learn"
        )


def check_heads(argument: str, heads: Sequence[Any], modalities: Modalities, num_classes: int) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless every unimodal head is a Keras layer that gives C logits."""
    check_layers(argument, heads, modalities)
    for m, head in enumerate(heads):
        check_head(f"unimodal head of {modalities.title(m)}", head, num_classes)


def check_head(name: str, head: Any, num_classes: int) -> None:
    """Raise ``ValueError`` if a head is known to give something else than C logits."""
    width = getattr(head, "units", None)
    if width is None and isinstance(head, keras.Model) and head.built:
        shape = getattr(head, "output_shape", None)
        width = shape[-1] if isinstance(shape, tuple) else None
    if width is not None and width != num_classes:
        raise ValueError(f"{name}: expected {num_classes} logits, as many as num_classes, got {width}")
    check_no_activation(name, head)


def check_layers(argument: str, items: Sequence[Any], modalities: Modalities) -> None:
    """Raise ``TypeError`` unless every item is a Keras layer."""
    for m, item in enumerate(items):
        if not isinstance(item, Layer):
            raise TypeError(
                f"{argument} of {modalities.title(m)}: expected a Keras layer or model, got {type(item).__name__}"
            )


def head_precision(variable_dtype: str) -> str:
    """Return the dtype of heads that the library makes: logits are never in half precision."""
    return "float64" if variable_dtype == "float64" else "float32"


def _is_additive(head: Any) -> bool:
    # A subclass may compute something else.
    return is_linear(head) and head.built and head.activity_regularizer is None and head.quantization_mode is None


def _in_compute_dtype(head: Any, x: Any) -> Array:
    return ops.cast(ops.convert_to_tensor(x), head.compute_dtype)
