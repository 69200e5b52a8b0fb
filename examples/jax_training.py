"""
JAX with Flax NNX and optax
===========================

A two-encoder classifier, jitted: joint training, then MIDAS by one function of the core.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import midas_core as mc

EPOCHS, WARMUP, BATCH, CLASSES, WIDTH = 60, 5, 50, 10, 64

# The right half of each digit is clean, the left one so wide and noisy that a network can memorise it.
images, labels = load_digits().images / 16, load_digits().target
noise = np.random.default_rng(0).normal(size=(len(images), 24, 12))
left = (np.kron(images[:, :, :4], np.ones((1, 3, 3))) + 0.5 * noise).reshape(-1, 288)
right = images[:, :, 4:].reshape(-1, 32)
inputs = [jnp.asarray(x, jnp.float32) for x in (left, right)]
labels = jnp.asarray(labels, jnp.int32)
train, test = np.arange(300), np.arange(700, len(labels))


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.encoders = nnx.List([nnx.Linear(x.shape[1], WIDTH, rngs=rngs) for x in inputs])
        self.heads = nnx.List([nnx.Linear(WIDTH, CLASSES, rngs=rngs) for _ in inputs])  # unimodal
        self.fused = nnx.Linear(2 * WIDTH, CLASSES, rngs=rngs)

    def encode(self, inputs):
        return [nnx.relu(encoder(x)) for encoder, x in zip(self.encoders, inputs, strict=True)]

    def fuse(self, features):
        return self.fused(jnp.concatenate(features, axis=-1))


def joint_loss(model, state, inputs, labels, key, warmup):
    logits = model.fuse(model.encode(inputs))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state


def midas_loss(model, state, inputs, labels, key, warmup):
    # warmup is traced: the first epochs train the unimodal heads alone.
    options = {"head": model.fused, "unimodal_heads": list(model.heads), "warmup": warmup}
    loss, (state, _) = mc.midas_loss(model.encode(inputs), labels, key, state, **options)
    return loss, state


@partial(nnx.jit, static_argnums=0)
def step(loss, model, optimizer, state, inputs, labels, key, warmup):
    (_, state), gradients = nnx.value_and_grad(loss, has_aux=True)(model, state, inputs, labels, key, warmup)
    optimizer.update(model, gradients)
    return state


def fit(loss):
    model = Classifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    state = mc.init_state(2, labels)
    order = np.random.default_rng(0)
    for epoch in range(EPOCHS):
        for number, batch in enumerate(order.permutation(train).reshape(-1, BATCH)):
            key = jax.random.fold_in(jax.random.key(epoch), number)
            given = [x[batch] for x in inputs], labels[batch], key, jnp.array(epoch < WARMUP)
            state = step(loss, model, optimizer, state, *given)
    return model, state


for name, loss in (("joint training", joint_loss), ("MIDAS", midas_loss)):
    model, state = fit(loss)
    logits = model.fuse(model.encode([x[test] for x in inputs]))
    print(f"{name}: test accuracy {100 * (logits.argmax(axis=-1) == labels[test]).mean():.1f} %")
print(f"alpha {state.alpha.round(2)} after {state.step} steps")
