"""Calls a model of any framework on arrays of the host: in chunks, in evaluation mode, without gradients."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends import Array, get_backend
from midas_core.diagnostics.inputs import Inputs, with_keras_mask
from midas_core.modalities import leaves, map_leaves
from midas_core.validation import are_probabilities, shape_text

Floats = NDArray[np.float64]


class Model:
    """The heads, or a whole model, called as the features ``like`` are given; log-probabilities on the host."""

    def __init__(
        self,
        head: Callable[..., Array],
        unimodal_heads: Sequence[Callable[..., Array]] | None,
        num_classes: int,
        inputs: Inputs,
        like: Any,
        batch_size: int,
    ) -> None:
        assert inputs.structure is not None
        self._head, self._unimodal_heads = head, unimodal_heads
        self._num_classes, self._concatenated = num_classes, inputs.concatenated
        self._structure, self._like = inputs.structure, inputs.structure.pack([None] * inputs.structure.count, like)
        self.batch_size = batch_size
        modalities = inputs.structure.unpack(like, "features")
        self._in_keras = [with_keras_mask(x) is not x for x in modalities]
        # No samples are held, only their dtype and device.
        self._likes = [[(get_backend(x), x[:0, ...]) for x in leaves(with_keras_mask(x))] for x in modalities]
        #: Which heads return probabilities, by name; settled by the first batch.
        self._softmaxed: dict[str, bool] = {}

    def log_probabilities(self, features: Sequence[Any]) -> Floats:
        """Return the log-probabilities of the fused classes, shape (B, C)."""
        if self._concatenated:
            backend, like = self._likes[0][0]
            inputs = backend.from_numpy(np.concatenate(list(features), axis=1), like)
        else:
            inputs = self._structure.pack([self._modality(m, x) for m, x in enumerate(features)], self._like)
        return self._call("head", self._head, inputs, _count(features[0]))

    def unimodal_log_probabilities(self, features: Sequence[Any]) -> list[Floats] | None:
        """Return the log-probabilities of each unimodal head, or None where there are none."""
        if self._unimodal_heads is None:
            return None
        result = []
        for m, (head, modality) in enumerate(zip(self._unimodal_heads, features, strict=True)):
            name, parts = f"unimodal head of {self._structure.title(m)}", []
            for start in range(0, max(_count(modality), 1), self.batch_size):
                part = _rows(modality, slice(start, start + self.batch_size))
                parts.append(self._call(name, head, self._modality(m, part), _count(part)))
            result.append(np.concatenate(parts))
        return result

    def gather(self, features: Sequence[Any], sources: NDArray[Any]) -> Iterator[tuple[slice, Floats]]:
        """Yield slices and the fused log-probabilities of the samples that ``sources`` (M, P) puts together."""
        for start in range(0, sources.shape[1], self.batch_size):
            chunk = slice(start, start + self.batch_size)
            mixed = [_rows(modality, rows[chunk]) for modality, rows in zip(features, sources, strict=True)]
            yield chunk, self.log_probabilities(mixed)

    def _modality(self, m: int, modality: Any) -> Any:
        likes = iter(self._likes[m])
        arrays = map_leaves(lambda x: (pair := next(likes))[0].from_numpy(x, pair[1]), modality)
        if not self._in_keras[m]:
            return arrays
        features, mask = leaves(arrays)
        features._keras_mask = mask  # as Keras itself attaches it; a layer may take it off again
        return features

    def _call(self, name: str, function: Callable[..., Array], inputs: Any, count: int) -> Floats:
        if _is_sharded(function):
            raise ValueError(
                f"{name}: expected whole parameters, got parts of them (fully_shard): load the checkpoint in one "
                "process and diagnose there"
            )
        with _without_gradients(self._likes[0][0][0].name), _evaluating(function):
            logits = function(inputs)
        if tuple(getattr(logits, "shape", ())) != (count, self._num_classes):
            shown = shape_text(logits) if hasattr(logits, "shape") else type(logits).__name__
            raise ValueError(f"{name}: expected logits of shape (B, C) = ({count}, {self._num_classes}), got {shown}")
        rows = get_backend(logits).to_numpy(logits)
        if name not in self._softmaxed and count:
            self._softmaxed[name] = are_probabilities(rows)
            if self._softmaxed[name]:
                warnings.warn(
                    f"{name}: expected logits, got probabilities (rows that sum to 1): their logarithms are diagnosed",
                    UserWarning,
                    stacklevel=2,
                )
        if self._softmaxed.get(name):
            # Logarithms of probabilities are logits of the same probabilities.
            rows = np.log(np.maximum(rows.astype(np.float64), np.finfo(np.float64).tiny))
        return _log_softmax(rows)


def _rows(modality: Any, rows: Any) -> Any:
    return map_leaves(lambda x: x[rows], modality)


def _count(modality: Any) -> int:
    return len(leaves(modality)[0])


def predictions(log_probabilities: Floats) -> NDArray[np.int64]:
    """Return the classes with the highest probability, -1 where a row is not finite: no class is predicted there."""
    return np.where(np.isnan(log_probabilities).any(axis=1), -1, log_probabilities.argmax(axis=1))


def _log_softmax(logits: NDArray[Any]) -> Floats:
    values = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a row of infinities is NaN
        shifted = values - values.max(axis=-1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _without_gradients(framework: str) -> AbstractContextManager[Any]:
    if framework != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()


@contextmanager
def _evaluating(function: Any) -> Iterator[None]:
    """Put a PyTorch module into evaluation mode, and each part of it back after; anything else stays as it is."""
    torch = sys.modules.get("torch")
    is_module = torch is not None and isinstance(function, torch.nn.Module)
    training = [module for module in function.modules() if module.training] if is_module else []
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def _is_sharded(function: Any) -> bool:
    """Return whether a PyTorch module holds parts of its parameters (DTensor) that no hook of its own gathers."""
    if not (hasattr(function, "parameters") and hasattr(function, "modules")):
        return False
    parts = any(hasattr(x, "device_mesh") for x in function.parameters())
    return parts and not any(hasattr(x, "unshard") for x in function.modules())
