"""The hand-written step of each Keras backend, and small things to train."""

from typing import Any

import keras
import numpy as np

from midas_core.adapters.keras import MidasLoss, MidasModel

BACKEND = keras.backend.backend()
CLASSES = 3


def array(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x))


def value(function: Any) -> Any:
    """Call a function for its tensors; on JAX compiled, which is quicker, and then no state moves."""
    if BACKEND != "jax":
        return keras.tree.map_structure(array, function())
    import jax

    def stateless():
        with keras.StatelessScope():
            return function()

    return keras.tree.map_structure(array, jax.jit(stateless)())


def loss_and_gradients(
    criterion: MidasLoss, head: keras.Layer, features: Any, labels: np.ndarray, **more: Any
) -> tuple[float, list[np.ndarray]]:
    """Take a step by hand: the loss, and its gradient in the features, the head and the unimodal heads."""
    if BACKEND == "tensorflow":
        return _tensorflow(criterion, head, features, labels, more)
    if BACKEND == "jax":
        return _jax(criterion, head, features, labels, more)
    return _torch(criterion, head, features, labels, more)


def _tensorflow(criterion, head, features, labels, more):
    import tensorflow as tf

    given = keras.tree.map_structure(tf.constant, features)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = criterion(given, labels, head=head, **more)
    variables = [v.value for v in head.trainable_variables + criterion.trainable_variables]
    gradients = tape.gradient(loss, keras.tree.flatten(given) + variables, unconnected_gradients="zero")
    return float(loss), [g.numpy() for g in gradients]


def _jax(criterion, head, features, labels, more):
    import jax

    def loss(features, head_variables, variables, state):
        def run(x):
            return head.stateless_call(head_variables, head.non_trainable_variables, x)[0]

        return criterion.stateless_call(variables, state, features, labels, head=run, **more)

    given = keras.tree.map_structure(jax.numpy.asarray, features)
    trainable = [[v.value for v in layer.trainable_variables] for layer in (head, criterion)]
    state = [v.value for v in criterion.non_trainable_variables]
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (value, state), gradients = step(given, *trainable, state)
    for variable, new in zip(criterion.non_trainable_variables, state, strict=True):
        variable.assign(new)
    return float(value), [np.asarray(g) for g in jax.tree.leaves(gradients)]


def _torch(criterion, head, features, labels, more):
    import torch

    given = keras.tree.map_structure(lambda x: torch.tensor(x, requires_grad=True), features)
    variables = [v.value for v in head.trainable_variables + criterion.trainable_variables]
    loss = criterion(given, labels, head=head, **more)
    leaves = keras.tree.flatten(given) + variables
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    return loss.item(), [
        (torch.zeros_like(x) if g is None else g).numpy() for x, g in zip(leaves, gradients, strict=True)
    ]


def make_data(samples: int = 37, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Make two views of a class: a clean one and a noisy one."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=samples)
    centres = rng.normal(size=(CLASSES, 6))
    audio = centres[labels] + 0.3 * rng.normal(size=(samples, 6))
    video = centres[labels][:, :4] + 1.5 * rng.normal(size=(samples, 4))
    return {"audio": audio.astype("float32"), "video": video.astype("float32")}, labels


def make_model(*, built: bool = True, names: bool = True, **more: Any) -> MidasModel:
    encoders: Any = {name: keras.layers.Dense(5, activation="relu", name=name) for name in ("audio", "video")}
    if not names:
        encoders = list(encoders.values())
    model = MidasModel(encoders, CLASSES, **more)
    if built:
        shapes = {"audio": (None, 6), "video": (None, 4)}
        model.build(shapes if names else list(shapes.values()))
    return model


def compiled(model: MidasModel | None = None, *, loss: MidasLoss | None = None, **more: Any) -> MidasModel:
    model = model or make_model()
    # TensorFlow is quicker untraced, for a few steps; the tests of sources and of compilation trace it.
    options: dict[str, Any] = {"metrics": ["accuracy"], "log_terms": True, **more}
    options.setdefault("run_eagerly", BACKEND == "tensorflow")
    options.setdefault("optimizer", keras.optimizers.SGD(0.05))
    model.compile(loss=loss or MidasLoss(seed=3), **options)
    return model
