"""What logs cannot tell and restored states can: two worlds, the same logs, opposite effects.

Run with `python experiments/identification.py [--quick]`. In both worlds of `casim.HiddenCause` a
log holds a constant text, a fair coin for the action, and success; the average effect of the action
is +1/2 in one and -1/2 in the other. Every estimator that reads logs only gives credit of the same
distribution in both (Proposition 2 of Zhang 2026, arXiv:2604.09459). The contrast of the action
from the restored state tells them apart, without bias (Proposition 1). Feeding the text again
redraws the hidden cause: the average effect is right, the credit of an episode is not, and replicas
of one branch differ; how much is measured against the exact value as the restoration gets worse.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import casim
from casim.figures import COLOR, PAGE, label_ends, save, style
from casim.oracle.contrast import Protocol, contrast, sample_contrast

WORLDS = (1, -1)
LOGGED = {
    "REINFORCE": casim.methods.REINFORCE,
    "reward-to-go": casim.methods.REWARD_TO_GO,
    "GRPO": casim.methods.GRPO,
    "RLOO": casim.methods.RLOO,
}
"""What reads nothing but logs."""
RESTORED, REFED = "Contrast, restored", "Contrast, re-fed"
WEIGHTED = "InversePropensity"
METHODS = (*LOGGED, WEIGHTED, RESTORED, REFED)
ACTIONS = {
    "1": {"color": COLOR["monte_carlo"], "marker": "o", "alpha": 0.85, "linewidth": 0},
    "0": {"color": COLOR["temporal_difference"], "marker": "D", "alpha": 0.85, "linewidth": 0},
}
"""How the actions are drawn."""
GROUP = 16
STEPS = np.arange(3)

exact_contrast = jax.jit(contrast, static_argnames="num_units")
run_branch = jax.jit(casim.World.branch, static_argnames="num")


class Size(NamedTuple):
    """How much is sampled."""

    name: str
    groups: int
    replicas: int
    noise: tuple[float, ...]


FULL = Size(
    "identification", 4000, 20_000, (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
)
QUICK = Size("identification_quick", 200, 2000, (0.0, 0.5, 1.0))


def measure(size: Size) -> dict:
    """Credits and implied effects in both worlds, and the noise of replicas, as plain numbers."""
    # Independent logs for each world: the figure compares distributions. The same noise must
    # give the same numbers.
    keys = dict(zip(WORLDS, jax.random.split(jax.random.key(0)), strict=True))
    found = {sign: credit_of(sign, keys[sign], size.groups) for sign in WORLDS}
    action, again = credit_of(-1, keys[1], size.groups)
    gap = {name: float(np.abs(found[1][1][name][0] - again[name][0]).max()) for name in METHODS}
    return {
        "groups": size.groups,
        "group": GROUP,
        "replicas": size.replicas,
        "worlds": {
            str(sign): {"truth": sign / 2, "methods": summaries(*found[sign])} for sign in WORLDS
        },
        "same_logs_under_the_same_noise": bool((action == found[1][0]).all()),
        "largest_difference_of_credit_under_the_same_noise": gap,
        "floor": [floor(noise, size.replicas) for noise in size.noise],
    }


def credit_of(sign: int, key: jax.Array, groups: int) -> tuple[np.ndarray, dict[str, tuple]]:
    """The logged action `[groups, N]`, and what each method finds.

    What is found is, by method, the credit of the action and each group's implied effect.
    """
    task = casim.HiddenCause(world=1 if sign == 1 else -1, horizon=len(STEPS))
    world = casim.World.make(task.build(), task.confounded())
    return jax.tree.map(np.asarray, all_groups(world, jax.random.split(key, groups)))


@jax.jit
def all_groups(world: casim.World, keys: jax.Array):
    """The work of `credit_of`; one compilation serves both worlds."""

    def group(key: jax.Array):
        batch = world.rollout(key, GROUP)
        log = casim.HiddenCause.logged(batch)
        action = log.action[:, 0]
        group = casim.types.Batch.of(jax.tree.map(lambda x: x[None], log))
        out = {}
        for name, estimator in LOGGED.items():
            out[name] = estimator.credit(key, None, group).value[0, :, 0]
        out = {name: (value, between(action, value)) for name, value in out.items()}
        # Half the logs take either action whatever the (constant) text says.
        weighted = jnp.where(action == 1, 2.0, -2.0) * jnp.sum(log.reward, axis=1)
        out[WEIGHTED] = (weighted, jnp.mean(weighted))
        both = jax.tree.map(
            lambda x, y: jnp.stack([x, y]), (world.mdp, batch), (blind(world.mdp), log)
        )
        effects = jax.vmap(one_against_zero, in_axes=(None, 0, None, 0, 0))(
            jax.random.fold_in(key, 1), both[0], world.policy, both[1], jnp.array([0.0, 1.0])
        )
        for i, name in enumerate((RESTORED, REFED)):
            out[name] = (jnp.where(action == 1, effects[i], -effects[i]), jnp.mean(effects[i]))
        return action, out

    return jax.vmap(group)(keys)


def between(action: jax.Array, value: jax.Array) -> jax.Array:
    """Mean credit of action 1 less mean credit of action 0; NaN in a group of one action."""
    return jnp.mean(value, where=action == 1) - jnp.mean(value, where=action == 0)


def one_against_zero(
    key: jax.Array, mdp: casim.MDP, policy: jax.Array, batch: casim.Trajectory, lost: jax.Array
):
    """Return after action 1 less return after action 0.

    One pair of branches for each trajectory, with fresh noise.
    """
    zero = jnp.broadcast_to(jnp.array([1.0, 0.0]), policy.shape)
    one = batch._replace(action=batch.action.at[:, 0].set(1))
    pairs = sample_contrast(
        key, mdp, Protocol(zero, policy, lost), one, jnp.asarray(STEPS), 0, 1, common=False
    )
    return pairs.difference[:, 0]


def blind(mdp: casim.MDP) -> casim.MDP:
    """The same process with the constant text of the logs as its only observation."""
    return mdp._replace(emission=jnp.zeros_like(mdp.emission).at[..., 0].set(1.0))


def summaries(action: np.ndarray, found: dict[str, tuple]) -> dict[str, dict]:
    """By method, how credit is distributed for each action, and how the effect is.

    The effect is summarised by mean, spread and quantiles.
    """
    out = {}
    for name in METHODS:
        value, effect = found[name][0], np.asarray(found[name][1], np.float64)
        shares = {}
        for a in (0, 1):
            level, count = np.unique(np.round(value[action == a], 6) + 0.0, return_counts=True)
            shares[str(a)] = [
                [float(x), int(n) / action.size] for x, n in zip(level, count, strict=True)
            ]
        out[name] = {
            "reads": "environment" if name in (RESTORED, REFED) else "logs",
            "credit": shares,
            "effect": float(np.nanmean(effect)),
            "spread": float(np.nanstd(effect)),
            "quantiles": [float(x) for x in np.nanquantile(effect, [0.025, 0.975])],
            "groups_of_one_action": int(np.isnan(effect).sum()),
        }
    return out


def floor(noise: float, replicas: int) -> dict:
    """World +1, an episode with hidden cause 1: replicas of the branch that takes action 0 instead.

    Restored it fails; where the cause is redrawn it succeeds half of the time.
    """
    task = casim.HiddenCause(world=1, horizon=len(STEPS))
    policy = task.confounded()
    mdp = blind(task.build())
    # Only the first step of the episode matters here: nothing was seen, and action 1 was taken.
    zeros, cause = jnp.zeros((1, len(STEPS)), jnp.int32), int(np.flatnonzero(mdp.start)[1])
    state, action = zeros.at[0, 0].set(cause), zeros.at[0, 0].set(1)
    one = casim.Trajectory(
        state, zeros, action, zeros.astype(float), zeros.astype(float), zeros == 0
    )
    zero = jnp.broadcast_to(jnp.array([1.0, 0.0]), policy.shape)
    exact = exact_contrast(mdp, Protocol(zero, policy, noise), one, jnp.asarray(STEPS), len(STEPS))
    world = dataclasses.replace(casim.World.make(mdp, policy), replay_noise=jnp.asarray(noise))

    def replica(seed: int, action: int) -> np.ndarray:
        branch = run_branch(world, jax.random.key(seed), one, 0, replicas, action=action)
        return np.asarray(branch.reward, np.float64).sum(axis=2)[0]

    first, second, taken = replica(2, 0), replica(3, 0), replica(4, 1)
    square, difference = (first - second) ** 2, taken - first
    root = np.sqrt(square.mean())
    return {
        "noise": noise,
        "exact": float(np.sqrt(2 * exact.reference_variance[0, 0])),
        "measured": float(root),
        # The delta method: the error of a root is that of the square over twice the root.
        "measured_error": float(square.std() / np.sqrt(replicas) / (2 * root)) if root > 0 else 0.0,
        "contrast": float(exact.value[0, 0]),
        "contrast_measured": float(difference.mean()),
        "contrast_error": float(difference.std() / np.sqrt(replicas)),
    }


def draw(result: dict):
    """Credit side by side, the effects that it implies, and the noise of replicas."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(2, 2, figsize=(PAGE, 5.0), layout="constrained")
        for axis, sign, letter in zip(axes[0], WORLDS, "ab", strict=True):
            draw_credit(
                axis,
                result["worlds"][str(sign)],
                signed(sign / 2, f"({letter}) credit where the true effect is {{:+.1f}}"),
            )
        axes[0, 1].set_yticklabels([])
        draw_effect(axes[1, 0], result["worlds"])
        draw_floor(axes[1, 1], result["floor"])
        figure.draw_without_rendering()  # lays the panels out, so that names can be kept apart
        label_ends(axes[1, 1], width=16)
    return figure


def draw_credit(axis, world: dict, title: str) -> None:
    """Marks whose area is the share of the trajectories, apart for the two actions."""
    methods = world["methods"]
    for place, method in enumerate(methods.values()):
        for action, lift in (("1", -0.17), ("0", 0.17)):
            level, share = np.array(method["credit"][action]).T
            area = 100 * share
            axis.scatter(level, np.full(len(level), place + lift), area, **ACTIONS[action])
    for action, look in ACTIONS.items():
        axis.scatter([], [], 30, label=f"action {action} taken", **look)
    name_methods(axis, methods)
    axis.set_xlim(-2.6, 2.6)
    axis.set_xlabel("credit of the action (units of reward)")
    axis.set_title(title, loc="left")
    axis.legend(loc="upper left", handletextpad=0.2, borderpad=0.1)


def draw_effect(axis, worlds: dict) -> None:
    """Mean over groups, and the middle 95% of groups as a bar; the truth as a line."""
    for sign, lift, color, marker in (
        (1, -0.14, COLOR["model_based"], "o"),
        (-1, 0.14, COLOR["game_theoretic"], "s"),
    ):
        world = worlds[str(sign)]
        axis.axvline(world["truth"], color=color, linestyle="--", linewidth=0.8)
        for place, method in enumerate(world["methods"].values()):
            low, high = method["quantiles"]
            axis.plot([low, high], [place + lift] * 2, color=color, linewidth=1.6, alpha=0.5)
            label = signed(sign, "world {:+d}") if place == 0 else None
            axis.plot(
                method["effect"],
                place + lift,
                marker,
                color=color,
                markersize=4,
                label=label,
                linestyle="none",
            )
    name_methods(axis, worlds["1"]["methods"])
    axis.set_xlim(-1.6, 1.6)
    axis.set_xlabel(f"effect implied by groups of {GROUP} (reward)")
    axis.set_title("(c) implied effect of action 1 (dashed: truth)", loc="left")
    axis.legend(loc="upper left", handletextpad=0.2, borderpad=0.1)


def draw_floor(axis, floor: list[dict]) -> None:
    """Exact values as lines, measured ones with 95% intervals."""
    noise = [point["noise"] for point in floor]
    panels = (
        (
            "exact",
            "measured",
            "measured_error",
            "standard deviation of a branch",
            COLOR["monte_carlo"],
            "o",
        ),
        (
            "contrast",
            "contrast_measured",
            "contrast_error",
            "contrast of this episode",
            COLOR["model_based"],
            "s",
        ),
    )
    for exact, measured, error, label, color, marker in panels:
        axis.plot(noise, [point[exact] for point in floor], color=color, linewidth=1, label=label)
        half = [1.96 * point[error] for point in floor]
        axis.errorbar(noise, [point[measured] for point in floor], half, fmt=marker, color=color)
    axis.set_ylim(-0.05, 1.3)
    axis.set_xlabel("probability that the cause is redrawn")
    axis.set_ylabel("reward")
    axis.set_title("(d) replicas of one branch (line: exact)", loc="left")


def signed(number: float, form: str) -> str:
    """The number in the format, with a minus that matches the axes'."""
    return form.format(number).replace("-", "\N{MINUS SIGN}")


def name_methods(axis, methods: dict) -> None:
    """Methods from the top down, with a line under those that read logs.

    The others run the environment.
    """
    axis.set_yticks(range(len(methods)), list(methods))
    axis.set_ylim(len(methods) - 0.4, -0.6)
    first = [method["reads"] for method in methods.values()].index("environment")
    axis.axhline(first - 0.5, color="0.4", linewidth=0.6)


def main(args: list[str] | None = None) -> None:
    """Measures, saves the numbers and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small version")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="folder for the numbers and the figure"
    )
    settings = parser.parse_args(args)
    size = QUICK if settings.quick else FULL
    result = measure(size)
    settings.out.mkdir(parents=True, exist_ok=True)
    path = settings.out / f"{size.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    save(draw(result), path.with_suffix(".png"))
    print(f"numbers: {path}\nfigure: {path.with_suffix('.png')}")


if __name__ == "__main__":
    main()
