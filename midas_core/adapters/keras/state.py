"""The state of MIDAS between steps, as weights of a Keras layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.warn import warn_user
from midas_core.backends import Array
from midas_core.options import MidasOptions, check_seed
from midas_core.partners import Draw, draw
from midas_core.validation import check_number
from midas_core.weighting import MidasState


class RandomLayer(keras.layers.Layer):  # type: ignore[misc]
    """A layer with a random stream of its own, which is saved and loaded with the weights."""

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed = check_seed(seed)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def draw(self, labels: Array, num_modalities: int, training: bool, absent: bool = False) -> Draw:
        """Draw the random numbers of a step; ``absent`` says whether some mixed samples shall have no partner."""
        rng = self.seed_generator if training else (self.seed or 0)
        return draw(labels, num_modalities, rng, absent=absent, backend=BACKEND)

    def reseed(self, seed: int) -> None:
        """Restart the stream."""
        self.seed = check_seed(seed)
        self._set_stream([self.seed, 0])

    def save_own_variables(self, store: Any) -> None:
        """Save where the stream stands too, which Keras forgets."""
        super().save_own_variables(store)
        store["seed_generator"] = self.seed_generator.state

    def load_own_variables(self, store: Any) -> None:
        """Restore the weights and the stream."""
        variables = {name: store[name] for name in store.keys()}  # noqa: SIM118 - a store is no dict
        stream = variables.pop("seed_generator", None)
        super().load_own_variables(variables)
        if stream is not None:
            self._set_stream(stream)

    def _set_stream(self, stream: Any) -> None:
        state = self.seed_generator.state
        state.assign(keras.ops.cast(keras.ops.convert_to_tensor(stream), state.dtype))


class StateLayer(RandomLayer):
    """alpha, step and epoch as weights that no optimizer touches."""

    def __init__(
        self, num_modalities: int, *, initial_alpha: float = 1.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, trainable=False, autocast=False, **kwargs)
        # alpha moves in steps of eta: never in half precision.
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        self.alpha = self.add_weight(
            name="alpha",
            shape=(num_modalities,),
            initializer=lambda shape, dtype: keras.ops.convert_to_tensor(np.full(shape, initial_alpha), dtype=dtype),
            dtype=dtype,
            trainable=False,
            autocast=False,
            aggregation="mean",
        )
        self.step = self._counter("step")
        self.epoch = self._counter("epoch")
        self.epoch_known = False
        self.built = True

    def start(self, initial_alpha: float, seed: int | None) -> None:
        """Set alpha, unless it has moved already, and the stream where there is a seed, for a new loss."""
        if int(_read(self.step)) == 0:
            self.alpha.assign(np.full(self.alpha.shape, initial_alpha))
        if seed is not None:
            self.reseed(seed)

    def read(self) -> MidasState:
        """Return the state as the core takes it."""
        return MidasState(_read(self.alpha), _read(self.step))

    def write(self, state: MidasState) -> None:
        """Store the state for the next step."""
        self.alpha.assign(state.alpha)
        self.step.assign(state.step)

    def get_epoch(self) -> int:
        """Return how many epochs have passed."""
        return int(_read(self.epoch))

    def set_epoch(self, epoch: int) -> None:
        """Set how many epochs have passed."""
        self.epoch.assign(check_number("epoch", epoch, minimum=0, whole=True))
        self.epoch_known = True

    def warn_without_epoch(self, options: MidasOptions, owner: str) -> None:
        """Warn, once, of a training that goes by the epoch and in which nobody counts the epochs."""
        if options.counts_epochs and not self.epoch_known:
            self.epoch_known = True
            warn_user(options.epoch_warning(owner))

    def load_own_variables(self, store: Any) -> None:
        """Restore the state, the epoch in it."""
        super().load_own_variables(store)
        self.epoch_known = True

    def _counter(self, name: str) -> Any:
        return self.add_weight(
            name=name,
            shape=(),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )


def _read(variable: Any) -> Array:
    # The product is a tensor, also where the value is a variable of TensorFlow or of tf.distribute.
    return variable.value * 1
