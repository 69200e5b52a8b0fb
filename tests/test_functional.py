"""`midas_loss`: one step as a function, on every backend and under the transformations of JAX."""

import re
from functools import partial

import numpy as np
import pytest

import midas_core as mc
from tests.frameworks import get_framework

B, C, T = 6, 3, 4
RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 0, 1, 2])
FEATURES = {"audio": RNG.normal(size=(B, 4)), "video": RNG.normal(size=(B, 5))}
WEIGHTS = {name: RNG.normal(size=(x.shape[1], C)) for name, x in FEATURES.items()}
FUSED = RNG.normal(size=(9, C))
PERMUTATION = np.array([1, 2, 3, 4, 5, 0])


def composed(*, warmup=False, similarity="cosine", present=None, weight=1.0):
    """Compute the mean total and alpha of a step by the single functions, in NumPy."""
    features = list(FEATURES.values())
    if present is not None:
        features = mc.zero_missing(features, present)
    pairs = mc.make_pairs(LABELS, mc.source_matrix(PERMUTATION, 2))
    mixed = np.concatenate(mc.mix(features, pairs.sources), axis=-1) @ FUSED
    unimodal = [x @ w for x, w in zip(features, WEIGHTS.values(), strict=True)]
    logits = np.concatenate(features, axis=1) @ FUSED, unimodal, None if warmup else mixed
    alike = None if similarity is None else mc.similarity(features, pairs.sources, similarity)
    state = mc.MidasState(np.ones(2), np.array(0))
    terms, state, _ = mc.midas_objective(*logits, LABELS, pairs, alike, state, present=present, weight=weight)
    return terms.total.mean(), state.alpha


def masked_mean(tokens, mask):
    weights = mask[..., None] * 1.0
    return (tokens * weights).sum(1) / (weights.sum(1) + 1e-9)


def loss_on(framework, rng=None, features=FEATURES, **options):
    """Take a step with linear heads, of token features after their mean."""
    array, xp = framework.array, framework.backend.xp
    own = {k: {n: array(y) for n, y in x.items()} if isinstance(x, dict) else array(x) for k, x in features.items()}
    weights, fused = {k: array(w) for k, w in WEIGHTS.items()}, array(FUSED)

    def pool(x):
        return masked_mean(**x) if isinstance(x, dict) else x

    options = {k: array(x) if isinstance(x, np.ndarray) else x for k, x in options.items()}
    if features is FEATURES:
        options["head"] = lambda z: z @ fused
    else:
        options["head"] = lambda x: xp.concat([x["audio"], pool(x["video"])], axis=-1) @ fused
        options["head_input"] = "separate"
    loss, (state, _) = mc.midas_loss(
        own,
        array(LABELS),
        framework.rng(0) if rng is None else rng,
        mc.init_state(2, own["audio"]),
        unimodal_heads={"video": lambda x: pool(x) @ weights["video"], "audio": lambda x: x @ weights["audio"]},
        **options,
    )
    return framework.numpy(loss), framework.numpy(state.alpha)


PRESENT = np.array([[True, True], [False, True], [True, False], [True, True], [True, True], [True, True]])


@pytest.mark.parametrize(
    "options", [{}, {"warmup": True}, {"similarity": None}, {"present": PRESENT}, {"weight": 2.0, "similarity": "l2"}]
)
def test_a_step_is_the_single_functions_put_together(framework, options):
    with framework.scope("float64"):
        loss, alpha = loss_on(framework, permutation=PERMUTATION, **options)
    expected, expected_alpha = composed(**options)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(alpha, expected_alpha, rtol=1e-6)


def test_partners_follow_the_random_numbers(framework):
    with framework.scope("float64"):
        first, again, other = (loss_on(framework, rng=framework.rng(seed))[0] for seed in (0, 0, 1))
        alone = loss_on(framework, absent_share=1.0)[0]
    assert first == again
    assert len({float(first), float(other), float(alone)}) == 3


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("options", [{}, {"present": PRESENT}, {"absent_share": 0.7}, {"similarity": "l2"}])
def test_padding_changes_no_number(name, options):
    framework = get_framework(name)
    tokens, lengths = RNG.normal(size=(B, T, 5)), np.array([4, 1, 2, 3, 4, 2])

    def loss(columns, filling):
        padded, mask = np.full((B, T + columns, 5), filling), np.arange(T + columns) < lengths[:, None]
        padded[:, :T] = tokens
        padded[~mask] = filling
        features = {"audio": FEATURES["audio"], "video": {"tokens": padded, "mask": mask}}
        return loss_on(framework, features=features, **options)

    with framework.scope("float64"):
        expected, alpha = loss(0, 0.0)
        for columns, filling in ((0, 7.0), (3, -2.0)):
            total, moved = loss(columns, filling)
            np.testing.assert_allclose(total, expected, rtol=1e-9)
            np.testing.assert_array_equal(moved, alpha)


def jax_step(weights, state, key, labels=LABELS, features=FEATURES, **options):
    return mc.midas_loss(
        {name: np.asarray(x) for name, x in features.items()} if features is FEATURES else features,
        labels,
        key,
        state,
        head=lambda z: z @ weights["fused"],
        unimodal_heads={name: partial(lambda w, x: x @ w, weights[name]) for name in FEATURES},
        **options,
    )


def test_transformations_of_jax():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    labels = jnp.asarray(LABELS)
    features = {name: jnp.asarray(x, jnp.float32) for name, x in FEATURES.items()}
    weights = {name: jnp.asarray(w, jnp.float32) for name, w in {**WEIGHTS, "fused": FUSED}.items()}
    step = jax.value_and_grad(partial(jax_step, labels=labels, features=features), has_aux=True)
    key, state = jax.random.key(0), mc.init_state(2, labels)
    (loss, (after, terms)), gradients = step(weights, state, key)
    assert terms.unimodal.shape == (2,)

    # jit; a traced warm-up is the untraced one.
    (jitted, (moved, _)), jitted_gradients = jax.jit(step)(weights, state, key)
    np.testing.assert_allclose(jitted, loss, rtol=1e-6)
    np.testing.assert_allclose(moved.alpha, after.alpha)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), jitted_gradients, gradients)
    for phase in (True, False):
        traced = jax.jit(lambda phase: step(weights, state, key, warmup=phase)[0][0])(phase)
        np.testing.assert_allclose(traced, step(weights, state, key, warmup=phase)[0][0], rtol=1e-6)

    # vmap over models and keys.
    models = jax.tree.map(lambda w: jnp.stack([w, 2 * w]), weights)
    keys, states = jax.random.split(key, 2), jax.tree.map(lambda x: jnp.stack([x, x]), state)
    (losses, _), _ = jax.vmap(step)(models, states, keys)
    for k in range(2):
        single = step(jax.tree.map(lambda w, k=k: w[k], models), state, keys[k])[0][0]
        np.testing.assert_allclose(losses[k], single, rtol=1e-5)

    # scan carries the state.
    def body(state, key):
        (loss, (state, _)), _ = step(weights, state, key)
        return state, loss

    last, history = jax.lax.scan(body, state, jax.random.split(key, 3))
    for number, each in enumerate(jax.random.split(key, 3)):
        state, loss = body(state, each)
        np.testing.assert_allclose(history[number], loss, rtol=1e-6)
    np.testing.assert_allclose(last.alpha, state.alpha)


def test_one_alpha_over_all_shards():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    weights = {name: jnp.asarray(w, jnp.float32) for name, w in {**WEIGHTS, "fused": FUSED}.items()}
    features = {name: jnp.asarray(x, jnp.float32).reshape(2, 3, -1) for name, x in FEATURES.items()}
    labels, state = jnp.asarray(LABELS).reshape(2, 3), mc.init_state(2, jnp.zeros(1))

    def step(features, labels, key, reduce=None):
        _, (after, terms) = jax_step(weights, state, key, labels, features, reduce=reduce)
        return after.alpha, terms.confidence

    # An axis of vmap knows the collectives of pmap and shard_map.
    keys = jax.random.split(jax.random.key(1), 2)
    total = partial(jax.lax.psum, axis_name="shards")
    alpha, confidence = jax.vmap(partial(step, reduce=total), axis_name="shards")(features, labels, keys)
    _, alone = jax.vmap(step)(features, labels, keys)
    np.testing.assert_array_equal(alpha[0], alpha[1])
    np.testing.assert_allclose(confidence, jnp.stack([alone.mean(axis=0)] * 2), rtol=1e-5)


WRONG = {
    "features: expected two or more modalities, got 1": {"features": {"audio": FEATURES["audio"]}},
    "unimodal_heads: expected the modalities ['audio', 'video'], got ['audio']": {"unimodal_heads": {"audio": abs}},
    "head_input: expected one of ['concatenated', 'separate'], got 'both'": {"head_input": "both"},
    "warmup: expected True, False or an array of shape (), got 'yes'": {"warmup": "yes"},
    "max_alpha: expected a finite number >= 1, got 0.5": {"max_alpha": 0.5},
    "state: expected a MidasState of arrays, got list as alpha; see init_state": {
        "state": mc.MidasState([1.0, 1.0], 0)
    },
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_refused(message):
    arguments = {
        **{"features": FEATURES, "labels": LABELS, "rng": np.random.default_rng(0), "state": mc.init_state(2)},
        "head": lambda z: z @ FUSED,
        "unimodal_heads": {name: partial(lambda w, x: x @ w, w) for name, w in WEIGHTS.items()},
    }
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        mc.midas_loss(**(arguments | WRONG[message]))


def test_labels_of_another_library_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="labels: expected an array of torch like the logits, got one of numpy"):
        mc.midas_loss(
            [torch.ones(2, 3), torch.ones(2, 3)],
            LABELS[:2],
            None,
            mc.init_state(2),
            head=abs,
            unimodal_heads=[abs, abs],
        )
