"""A two-encoder classifier in JAX and optax, jitted: joint training, then MIDAS on the functions of the core."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import midas_core as mc

EPOCHS, WARMUP, BATCH, CLASSES, WIDTH = 60, 5, 50, 10, 64

# The right half of each digit is clean, the left one so wide and noisy that a network can memorise it.
images, labels = load_digits().images / 16, load_digits().target
noise = np.random.default_rng(0).normal(size=(len(images), 24, 12))
left = (np.kron(images[:, :, :4], np.ones((1, 3, 3))) + noise).reshape(-1, 288)
right = images[:, :, 4:].reshape(-1, 32)
inputs = [jnp.asarray(x, jnp.float32) for x in (left, right)]
labels = jnp.asarray(labels, jnp.int32)
train, test = np.arange(300), np.arange(700, len(labels))


def dense(key, inner, outer):
    return {"w": jax.random.normal(key, (inner, outer)) / inner**0.5, "b": jnp.zeros(outer)}


def apply(layer, x):
    return x @ layer["w"] + layer["b"]


def make_model(key):
    keys = jax.random.split(key, 5)
    return {
        "encoders": [dense(k, x.shape[1], WIDTH) for k, x in zip(keys[:2], inputs, strict=True)],
        "heads": [dense(k, WIDTH, CLASSES) for k in keys[2:4]],  # unimodal
        "fused": dense(keys[4], 2 * WIDTH, CLASSES),
    }


def encode(model, inputs):
    return [jax.nn.relu(apply(layer, x)) for layer, x in zip(model["encoders"], inputs, strict=True)]


def joint_loss(model, state, inputs, labels, key, warmup):
    logits = apply(model["fused"], jnp.concatenate(encode(model, inputs), axis=-1))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state


def midas_loss(model, state, inputs, labels, key, warmup):
    features = encode(model, inputs)
    pairs = mc.draw_pairs(mc.draw(labels, 2, key), labels, 2)
    mixed = mc.mix(features, pairs.sources)
    terms, state, _ = mc.midas_objective(
        apply(model["fused"], jnp.concatenate(features, axis=-1)),
        [apply(head, x) for head, x in zip(model["heads"], features, strict=True)],
        apply(model["fused"], jnp.concatenate(mixed, axis=-1)),
        labels,
        pairs,
        mc.similarity(features, pairs.sources),
        state,
        warmup=warmup,  # traced: the first epochs train the unimodal heads alone
    )
    return terms.total.mean(), state


optimizer = optax.adam(1e-3)


@partial(jax.jit, static_argnums=0)
def step(loss, model, moments, state, inputs, labels, key, warmup):
    (_, state), slopes = jax.value_and_grad(loss, has_aux=True)(model, state, inputs, labels, key, warmup)
    updates, moments = optimizer.update(slopes, moments)
    return optax.apply_updates(model, updates), moments, state


def fit(loss):
    model = make_model(jax.random.key(0))
    moments = optimizer.init(model)
    state = mc.MidasState(jnp.ones(2), jnp.array(0))  # alpha, and how often it has moved
    order = np.random.default_rng(0)
    for epoch in range(EPOCHS):
        for number, batch in enumerate(order.permutation(train).reshape(-1, BATCH)):
            key = jax.random.fold_in(jax.random.key(epoch), number)
            given = [x[batch] for x in inputs], labels[batch], key, jnp.array(epoch < WARMUP)
            model, moments, state = step(loss, model, moments, state, *given)
    return model, state


for name, loss in (("joint training", joint_loss), ("MIDAS", midas_loss)):
    model, state = fit(loss)
    logits = apply(model["fused"], jnp.concatenate(encode(model, [x[test] for x in inputs]), axis=-1))
    print(f"{name}: test accuracy {100 * (logits.argmax(axis=-1) == labels[test]).mean():.1f} %")
print(f"alpha {state.alpha.round(2)} after {state.step} steps")
