"""Calls a model on arrays of the host, in chunks, in the structure and the framework that it expects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends import Array, get_backend
from midas_core.diagnostics.arrays import Floats, evaluating, log_softmax, no_gradients
from midas_core.modalities import Modalities
from midas_core.validation import shape_text


class Model:
    """A head or a model, and the unimodal heads.

    Parameters
    ----------
    head : callable
        From the modalities, concatenated or apart, to logits (B, C).
    unimodal_heads : sequence of M callables, optional
    num_classes : int
        Number of classes, C.
    concatenated : bool
    structure : Modalities
    like : list, tuple or dict of M arrays
        The structure, frameworks, dtypes and devices that the model expects.
    batch_size : int
        Samples in one call.
    """

    def __init__(
        self,
        head: Callable[..., Array],
        unimodal_heads: Sequence[Callable[..., Array]] | None,
        num_classes: int,
        concatenated: bool,
        structure: Modalities,
        like: Any,
        batch_size: int,
    ) -> None:
        self._head, self._unimodal_heads = head, unimodal_heads
        self._num_classes, self._concatenated = num_classes, concatenated
        self._structure, self._like = structure, structure.pack([None] * structure.count, like)
        given = structure.unpack(like, "features")
        # No samples are held, only their dtype and device.
        self._backends, self._likes = [get_backend(x) for x in given], [x[:0, ...] for x in given]
        self.batch_size = batch_size

    def log_probabilities(self, features: Sequence[NDArray[Any]]) -> Floats:
        """Return the log-probabilities of the fused classes, shape (B, C)."""
        if self._concatenated:
            given = self._from_numpy(0, np.concatenate(list(features), axis=1))
        else:
            items = [self._from_numpy(m, x) for m, x in enumerate(features)]
            given = self._structure.pack(items, self._like)
        return self._call("head", self._head, given, len(features[0]))

    def unimodal_log_probabilities(self, features: Sequence[NDArray[Any]]) -> list[Floats] | None:
        """Return the log-probabilities of each unimodal head, or None where there are none."""
        if self._unimodal_heads is None:
            return None
        found = []
        for m, (head, x) in enumerate(zip(self._unimodal_heads, features, strict=True)):
            name = f"unimodal head of {self._structure.title(m)}"
            parts = [self._call(name, head, self._from_numpy(m, part), len(part)) for part in self._chunks(x)]
            found.append(np.concatenate(parts))
        return found

    def gather(self, features: Sequence[NDArray[Any]], sources: NDArray[Any]) -> Any:
        """Yield slices and the fused log-probabilities of the samples that ``sources`` (M, P) puts together."""
        for start in range(0, sources.shape[1], self.batch_size):
            chunk = slice(start, start + self.batch_size)
            yield chunk, self.log_probabilities([x[rows[chunk]] for x, rows in zip(features, sources, strict=True)])

    def _from_numpy(self, m: int, values: NDArray[Any]) -> Array:
        return self._backends[m].from_numpy(values, self._likes[m])

    def _chunks(self, x: NDArray[Any]) -> list[NDArray[Any]]:
        return [x[start : start + self.batch_size] for start in range(0, max(len(x), 1), self.batch_size)]

    def _call(self, name: str, function: Callable[..., Array], given: Any, count: int) -> Floats:
        if _is_sharded(function):
            raise ValueError(
                f"{name}: expected whole parameters, got parts of them (fully_shard): load the checkpoint in one "
                "process and diagnose there"
            )
        with no_gradients(self._backends[0].name), evaluating(function):
            logits = function(given)
        if tuple(getattr(logits, "shape", ())) != (count, self._num_classes):
            found = shape_text(logits) if hasattr(logits, "shape") else type(logits).__name__
            raise ValueError(f"{name}: expected logits of shape (B, C) = ({count}, {self._num_classes}), got {found}")
        return log_softmax(logits)


def _is_sharded(function: Any) -> bool:
    """Return whether a PyTorch module holds parts of its parameters (DTensor) that no hook of its own gathers."""
    if not (hasattr(function, "parameters") and hasattr(function, "modules")):
        return False
    parts = any(hasattr(x, "device_mesh") for x in function.parameters())
    return parts and not any(hasattr(x, "unshard") for x in function.modules())
