"""The contract of estimators."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from casim.estimators import Estimator
from casim.estimators.base import behaviour_log_prob_of
from casim.oracle import path_target, solve
from casim.panel import PANEL
from casim.policies import Softmax
from casim.scores import group_gradient, of_taken, weighted
from casim.simulate import JUDGE, World
from casim.targets import Advantage, Target
from casim.tasks import Bifurcation
from casim.testing.compare import close, difference, same, unbiased
from casim.testing.guard import Guard
from casim.types import MDP, Batch, Credit, Truth, recorded
from casim.vocabulary import CLAIMS, GRANULARITIES, NEEDS

DISCOUNTS = (1.0, 0.8)
"""Of the worlds in which every claim is tested where it is made."""
PROMPTS = 2
"""Groups in a batch."""
SIZE = 3
"""Trajectories in a group."""


class Stage(NamedTuple):
    """A world, solved."""

    world: World
    truth: Truth


def check_estimator(
    estimator: Estimator,
    num_groups: int = 4000,
) -> None:
    """The contract of an estimator, on a small bifurcation chain with recovery and noise.

    - Its taxonomy is from the allowed sets, but for the methodology, which may be one of its own;
      it is frozen and hashable.
    - Its credit is finite, shaped `[P, N, T]`, 0 where not live, its weights 0 where nothing is
      decided, and the same for the same key; costs
      are not negative. It runs under jit and vmap.
    - It does not see the latent state, neither in a batch nor through any door of the world, unless
      "privileged" is among its needs, and it opens no door that its needs do not name.
    - If it needs nothing but the batch it also runs with `world=None`, as at discount 1.
    - What it claims to be unbiased for passes a z-test at 5 standard errors, in worlds of discount
      1, of a discount below 1, and of its own.

    Args:
        estimator: an instance.
        num_groups: groups of 3 trajectories for the z-tests.

    Raises:
        AssertionError: with what is wrong.
    """
    _check_recipe(estimator)
    key = jax.random.key(0)
    stage = _stage(1.0, estimator)
    batch = jax.jit(_group, static_argnums=2)(key, stage.world, PROMPTS)
    credit = _check_credit(estimator, key, stage.world, batch)
    _check_sight(estimator, key, stage.world, batch, credit)
    if estimator.needs <= {"group"}:
        _check_alone(estimator, key, batch, credit)
    _check_claims(estimator, jax.random.split(key, num_groups))


def _check_recipe(
    estimator: Estimator,
) -> None:
    assert isinstance(estimator, Estimator), f"estimator must be an instance, got {estimator!r}"
    methodology = estimator.methodology
    assert isinstance(methodology, str), f"methodology must be a string, got {methodology!r}"
    assert methodology.isidentifier(), f"methodology must be an identifier, got {methodology!r}"
    _among("granularity", {estimator.granularity}, GRANULARITIES)
    target = estimator.target
    assert isinstance(target, Target), f"target must be a recipe of casim.targets, got {target!r}"
    _among("needs", estimator.needs, NEEDS)
    _among("unbiased", estimator.unbiased, CLAIMS)
    for discount in _discounts(estimator):
        _among(f"claims({discount})", estimator.claims(discount), estimator.unbiased)
    alike = hash(estimator) == hash(dataclasses.replace(estimator))
    assert alike, "equal estimators must hash alike"


def _among(
    field: str,
    values,
    allowed,
) -> None:
    unknown = sorted(set(values) - set(allowed))
    assert not unknown, f"{field} must be among {tuple(allowed)}, got {unknown}"


def _discounts(
    estimator: Estimator,
) -> list[float]:
    own = getattr(estimator, "discount", None)
    return sorted({*DISCOUNTS, *([] if own is None else [own])})


def _check_credit(
    estimator: Estimator,
    key: Array,
    world: World,
    batch: Batch,
) -> Credit:
    """Checks the credit of one batch, and returns it."""
    run = jax.jit(lambda key, world, batch: estimator.credit(key, world, batch))
    credit = run(key, world, batch)
    steps = batch.action.shape
    shape = credit.value.shape
    every = (*steps, world.num_actions)
    assert shape in (steps, every), f"credit must be [P, N, T], got {shape}"
    assert credit.weight.shape == steps, f"weight must be [P, N, T], got {credit.weight.shape}"
    for name, x in (("credit", credit.value), ("weight", credit.weight)):
        assert bool(jnp.isfinite(x).all()), f"{name} must be finite"
    idle = jnp.where(batch.decided, 0.0, credit.weight)
    assert not bool(idle.any()), "weight must be 0 where nothing is decided"
    fine = [x.shape == () and float(x) >= 0 for x in credit.cost]
    assert all(fine), f"costs must be scalars >= 0, got {credit.cost}"
    same(run(key, world, batch), credit, "the same key must give the same credit")
    ended = _ended(batch)
    after = jnp.where(_like(ended.live, credit.value), 0.0, run(key, world, ended).value)
    assert not bool(after.any()), "credit must be 0 where not live"
    return credit


def _like(
    mask: Array,
    value: Array,
) -> Array:
    """A mask of steps, for every action where the value has them."""
    return mask[..., None] if value.ndim > mask.ndim else mask


def _check_sight(
    estimator: Estimator,
    key: Array,
    world: World,
    batch: Batch,
    credit: Credit,
) -> None:
    """Runs behind a `Guard`, on labels in wide integers: neither may change anything."""
    guard = Guard(world, estimator.needs)
    wide = _wide(batch)
    run = jax.jit(lambda key, world, batch: estimator.credit(key, world, batch).value)
    error, scale = difference(run(key, guard, guard.hide(wide)), credit.value)
    if error > 0.0:
        narrow = "credit must not compute in int8: widen labels before arithmetic"
        close(run(key, world, wide), credit.value, narrow)
        blind = "credit must not read the latent state without declaring it"
        close(error / scale, 0.0, blind)


def _check_alone(
    estimator: Estimator,
    key: Array,
    batch: Batch,
    credit: Credit,
) -> None:
    """Runs on the batch alone, as on logged rollouts."""
    run = jax.jit(lambda key, batch: estimator.credit(key, None, batch).value)
    needs = sorted(estimator.needs)
    try:
        alone = run(key, batch)
    except Exception as error:
        raise AssertionError(f"needs {needs} must do with world=None, got {error!r}") from error
    close(alone, credit.value, "credit with world=None must be that at discount 1")


def _check_claims(
    estimator: Estimator,
    keys: Array,
) -> None:
    """z-tests over groups. The worlds differ in one number: the errors are compiled once."""
    errors = jax.jit(functools.partial(_errors, estimator))
    for discount in _discounts(estimator):
        claims = estimator.claims(discount)
        found = errors(keys, _stage(discount, estimator)) if claims else {}
        for claim in sorted(claims):
            assert claim in found, f"{claim} must not be claimed: it has no exact value"
            what = "policy gradient" if claim == "gradient" else f"{claim} in every cell"
            unbiased(found[claim], f"{what} at discount {discount}")


def _errors(
    estimator: Estimator,
    keys: Array,
    stage: Stage,
) -> dict[str, Array]:
    """What each claim says is 0 on average, for every group; no entry without an exact value."""
    world, truth = stage
    actions, states = world.policy.shape[-1], world.mdp.start.shape[0]
    targets = {"target": estimator.target, "advantage": Advantage()}

    def group(
        key: Array,
    ) -> dict[str, Array]:
        batch = _group(key, world, 1)
        given = estimator.credit(jax.random.fold_in(key, 1), world, batch)
        rows = jax.tree.map(lambda x: x[0], recorded(batch))
        product = weighted(given.value, given.weight)[0]
        gradient = group_gradient(world.mdp, world.policy, rows, product)
        value = of_taken(given.value[0], rows)
        errors = {"gradient": gradient - truth.gradient}
        index = rows.state.astype(jnp.int32) * actions + rows.action
        cell = jax.nn.one_hot(index, actions * states)
        for claim, aim in targets.items():
            target = path_target(aim, world, truth, rows)
            if target is not None:
                errors[claim] = jnp.mean((value - target)[..., None] * cell, axis=0)
        return errors

    return jax.lax.map(group, keys, batch_size=200)


def _group(
    key: Array,
    world: World,
    num_prompts: int,
) -> Batch:
    return world.groups(jax.random.fold_in(key, 0), num_prompts, SIZE)


def _stage(
    discount: float,
    estimator: Estimator,
) -> Stage:
    """A world with the judges that the estimator asks."""
    names = tuple(sorted(estimator.judges | {JUDGE}))
    return _built(discount, names, jnp.zeros(()).dtype == jnp.float64)


@functools.cache
def _built(
    discount: float,
    names: tuple[str, ...],
    double: bool,
) -> Stage:
    """The world of this discount, built once in a process for each precision."""
    del double  # JAX's own setting decides; it is a part of the key
    task = Bifurcation(
        horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1, num_segments=3, discount=discount
    )
    mdp = _relabelled(task.build())
    policy, reference = (Softmax(seed=seed).table(mdp) for seed in (2, 3))
    truth = jax.jit(solve)(mdp, policy)
    told = (mdp, truth, policy, reference)
    judges = {name: PANEL.get(name, PANEL[JUDGE]).informed(*told) for name in names}
    return Stage(World.make(mdp, policy, reference=reference, judges=judges), truth)


def _relabelled(
    mdp: MDP,
    by: int = 100,
) -> MDP:
    """The same process with higher labels: their products do not fit the type they are stored in.

    The states and observations below are never met: those states stay where they are.
    """
    kernels, _, actions, slots = mdp.prob.shape
    shape = (kernels, by, actions, slots)
    below = jnp.broadcast_to(jnp.arange(by)[None, :, None, None], shape)
    stay = jnp.broadcast_to((jnp.arange(slots) == 0)[None, None, None, :], shape)
    emission = jnp.pad(mdp.emission, [(0, 0), (by, 0), (by, 0)])
    return mdp._replace(
        start=jnp.pad(mdp.start, (by, 0)),
        successor=jnp.concatenate([below, mdp.successor + by], axis=1),
        prob=jnp.concatenate([stay.astype(mdp.prob.dtype), mdp.prob], axis=1),
        reward=jnp.pad(mdp.reward, [(0, 0), (by, 0), (0, 0), (0, 0)]),
        emission=emission.at[:, :by, 0].set(1.0),
        terminal=jnp.pad(mdp.terminal, (by, 0)),
        prompt=jnp.pad(mdp.prompt, (by, 0)),
    )


def _ended(
    batch: Batch,
) -> Batch:
    """The first trajectory of a group ends before the last two steps, the second before one."""
    _, rows, steps = batch.live.shape
    length = steps - jnp.maximum(2 - jnp.arange(rows), 0)
    live = jnp.arange(steps)[None, :] < length[:, None]
    live = jnp.broadcast_to(live, batch.live.shape)

    def cut(
        x: Array,
    ) -> Array:
        return jnp.where(live, x, jnp.zeros_like(x))

    return batch._replace(
        action=cut(batch.action),
        log_prob=cut(behaviour_log_prob_of(batch)),
        reward=cut(batch.reward),
        live=live,
    )


def _wide(
    batch: Batch,
) -> Batch:
    labels = ("state", "observation", "action")
    return batch._replace(**{name: getattr(batch, name).astype(jnp.int32) for name in labels})
