"""COCOA's measurement of bias, variance and SNR on its key-to-door and tree: exact, no samples.

Run with `python experiments/cocoa.py [--quick] [--out FOLDER]`. Meulemans et al. 2023
(arXiv:2306.16803) compare gradients of one episode, with g* the exact one, in the logits of a
policy that knows the time:

    bias = |E g - g*|^2 / |g*|^2,   variance = E|g - E g|^2 / |g*|^2,   SNR = 1 / (bias + variance),

of all decisions, or of the first alone, which takes the key. All are computed in double precision
by recursion in time; what is counted (contribution coefficients on fresh rollouts, a pseudo-count
of 1) has the exact bias and variance of its counts, averaged over several draws of them.

Of the source we know its layouts, which are printed beside ours: 0, 6, 16, 27 and 77 apples and
2 L + 3 states in corridors of L = 3 to 103 cells, and the states of its trees. Its bias, variance
and SNR are curves in figures: their numbers are not known to us, and nothing here is compared with
them. What is compared are laws of growth, derived: the variance at the key, over the number of
apples n under the uniform policy, is a polynomial a + b n + c n^2; c is above 0 for returns, 0 with
a value baseline, and of coefficients of rewards b is 0 too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import casim
from casim.figures import PAGE, save, style
from casim.oracle import moments
from casim.tasks import KeyToDoor, Tree

FORMS = {
    "REINFORCE": moments.reward_to_go,
    "value baseline": moments.value_baseline,
    "control variate": moments.control_variate(),
    "all actions, exact Q": moments.all_action(),
}
FEATURES = {
    "HCA+ (state)": "state",
    "COCOA, reward": "reward",
    "COCOA, feature": "prediction",
}
COUNTED = {"HCA+ (state)": "state", "COCOA, reward": "reward"}
NUMBERS = ("bias", "variance", "snr")
SCOPES = ("first", "all")
POLICIES = {"uniform": casim.Uniform(), "skilled": casim.EpsilonOptimal(0.2)}
APPLES = {3: 0, 13: 6, 23: 16, 43: 27, 103: 77}
"""Of the source's corridors."""
STATES = (260, 195, 140, 95, 60, 35, 20)
"""Of the source's trees, by overlap."""
LAWS = {
    "REINFORCE": "b > 0, c > 0",
    "value baseline": "b > 0, c = 0",
    "COCOA, reward": "b = c = 0",
}
"""Of the variance at the key, a + b n + c n^2 over the number of apples n."""
LEAST = 1e-12
"""What is below this share of the signal is rounding."""
Found = dict[str, dict[str, float]]
"""By method, the numbers of a scope."""


class Size(NamedTuple):
    """How much is computed."""

    name: str
    lengths: tuple[int, ...]
    overlaps: tuple[int, ...]
    rollouts: tuple[int, ...]
    draws: int
    apples: tuple[int, ...]
    corridor: int
    """The length at which the number of apples is varied."""


FULL = Size(
    "cocoa",
    lengths=tuple(APPLES),
    overlaps=tuple(range(7)),
    rollouts=(64, 1024),
    draws=4,
    apples=(0, 1, 2, 4, 8, 16, 32, 64, 100),
    corridor=103,
)
QUICK = Size("cocoa_quick", (3, 13), (3, 6), (64,), 2, (0, 1, 4, 16), 23)


def gradients(
    mdp: casim.MDP,
    policy: np.ndarray,
    size: Size,
) -> Iterator[tuple[str, list[moments.Moments]]]:
    """Each method's moments; of what is counted, those of every draw."""
    for name, form in FORMS.items():
        yield name, [moments.recursion_moments(mdp, policy, form, tied=False)]
    for name, feature in FEATURES.items():
        yield name, [moments.contribution_moments(mdp, policy, feature)]
    for name, feature in COUNTED.items():
        for number in size.rollouts:
            each = [counted(mdp, policy, feature, number, seed) for seed in range(size.draws)]
            yield f"{name}, {number} rollouts", each


def counted(
    mdp: casim.MDP,
    policy: np.ndarray,
    feature: str,
    number: int,
    seed: int,
) -> moments.Moments:
    """The moments of coefficients that are counted on so many rollouts."""
    features = moments.contribution_features(mdp, policy, feature)
    world = casim.World.make(mdp, policy)
    data = jax.tree.map(np.asarray, world.rollout(jax.random.key(seed), number))
    coefficient = coefficients(mdp, policy, features, data)
    return moments.contribution_moments(mdp, policy, feature, coefficient=coefficient)


def coefficients(
    mdp: casim.MDP,
    policy: np.ndarray,
    features: moments.Features,
    data: casim.Trajectory,
) -> np.ndarray:
    """H / pi - 1 by counts with one pseudo-count of the policy, `[T, S, A, U]`; states are seen."""
    schedule = np.asarray(mdp.schedule)
    steps, states, actions, _ = features.label.shape
    rows = np.arange(len(data.state))
    later = np.zeros((len(rows), features.size))
    found = np.zeros((steps, states, actions, features.size))
    for t in reversed(range(steps)):
        state, action = data.state[:, t], data.action[:, t]
        number = np.zeros((states, actions, features.size))
        np.add.at(number, (state, action), later)
        chance = np.asarray(policy, np.float64)[schedule[t], :states]
        expected = chance[..., None] * number.sum(axis=1, keepdims=True)
        safe = np.where(chance > 0, chance, 1.0)[..., None]
        excess = np.where(chance[..., None] > 0, (number - expected) / safe, 0.0)
        found[t] = excess / (number.sum(axis=1, keepdims=True) + 1.0)
        if features.values is None:
            label = features.label[t, state, 0, 0]
        else:
            away = np.abs(data.reward[:, t, None] - features.values)
            label = away.argmin(axis=1)
        later[rows, label] += data.live[:, t]
    return found


def numbers(
    exact: np.ndarray,
    each: list[moments.Moments],
    scope: str,
) -> dict[str, float]:
    """Bias, variance and SNR in the logits of all steps, or of the first."""
    steps = slice(1) if scope == "first" else slice(None)
    wanted = exact[steps]
    signal = np.sum(wanted**2)
    bias = np.mean([np.sum((one.gradient[steps] - wanted) ** 2) for one in each])
    variance = np.mean([np.sum(one.gradient_variance[steps]) for one in each])
    bias, variance = (x / signal if x > LEAST * signal else 0.0 for x in (bias, variance))
    error = bias + variance
    snr = 1 / error if error > 0 else np.inf
    return {"bias": float(bias), "variance": float(variance), "snr": float(snr)}


def measured(
    task: casim.Task,
    policy: casim.Policy,
    size: Size,
) -> dict[str, Found]:
    """Every method's numbers, by scope."""
    mdp = task.build()
    table = np.asarray(policy.table(mdp), np.float64)
    exact = moments.recursion_moments(mdp, table, moments.all_action(), tied=False).gradient
    found: dict[str, Found] = {scope: {} for scope in SCOPES}
    for name, each in gradients(mdp, table, size):
        for scope in SCOPES:
            found[scope][name] = numbers(exact, each, scope)
    return found


def distinct_states(task: casim.Task) -> int:
    """Pairs of time and state that can be met, those after the last step among them."""
    mdp = jax.tree.map(np.asarray, task.build())
    now = mdp.start > 0
    total = now.sum()
    for kernel in mdp.schedule:
        met = mdp.successor[kernel][now]
        after = np.zeros_like(now)
        after[met[mdp.prob[kernel][now] > 0]] = True
        now = after
        total += now.sum()
    return int(total)


def growth(size: Size) -> dict[str, list[float]]:
    """The variance at the key, in units of c^2, over the number of apples."""
    found: dict[str, list[float]] = {}
    alone = size._replace(rollouts=())
    for number in size.apples:
        task = KeyToDoor(size.corridor, num_apples=number, scale=1.0)
        # The gradient at the key is the same whatever the apples.
        for name, one in measured(task, casim.Uniform(), alone)["first"].items():
            found.setdefault(name, []).append(one["variance"])
    return found


def polynomial(apples: list[int], variance: list[float]) -> list[float]:
    """a, b and c of a + b n + c n^2, and its largest error as a share of the largest variance."""
    scale = max(apples)
    x = np.array(apples) / scale
    powers = x[:, None] ** np.arange(3)
    fitted, *_ = np.linalg.lstsq(powers, np.array(variance), rcond=None)
    error = np.abs(powers @ fitted - variance)
    off = error.max() / max(variance)
    unscaled = fitted / scale ** np.arange(3.0)
    return [*(float(x) for x in unscaled), float(off)]


def measure(size: Size) -> dict:
    """All numbers, as plain ones."""
    corridors, trees = {}, {}
    for length in size.lengths:
        task = KeyToDoor(length)
        code = task.layout().code
        corridors[length] = {
            "states": distinct_states(task),
            "apples": int(np.isin(code, (2, 3)).sum()),
            "found": {name: measured(task, policy, size) for name, policy in POLICIES.items()},
        }
    for overlap in size.overlaps:
        tree = Tree(overlap=overlap)
        trees[overlap] = {
            "states": distinct_states(tree),
            "found": {"softmax": measured(tree, casim.Softmax(0.5), size)},
        }
    return {
        "corridors": corridors,
        "trees": trees,
        "apples": list(size.apples),
        "growth": growth(size),
    }


def decibels(ratio: float) -> str:
    """10 log10, and a word for what is exactly 0."""
    return f"{10 * np.log10(ratio):8.1f}" if ratio > 0 else "    none"


def report(found: dict) -> str:
    """The table: layouts beside the source's, every method's numbers, growth beside the law."""
    lines = ["bias and variance in dB of the squared gradient (none: exactly 0), SNR as it is"]
    for length, one in found["corridors"].items():
        wanted = f"source: {APPLES[length]} apples, {2 * length + 3} states"
        lines.append(
            f"\nkey-to-door, {length} steps: {one['apples']} apples, {one['states']} states"
            f" ({wanted}; its bias, variance and SNR are not known to us)"
        )
        lines += rows(one["found"])
    for overlap, one in found["trees"].items():
        wanted = f"source: {STATES[overlap]} states"
        lines.append(
            f"\ntree, overlap {overlap}: {one['states']} states"
            f" ({wanted}; its bias, variance and SNR are not known to us)"
        )
        lines += rows(one["found"])
    lines.append("\nvariance / signal at the key = a + b n + c n^2 of n apples, beside the law")
    for name, wanted in LAWS.items():
        a, b, c, off = polynomial(found["apples"], found["growth"][name])
        fitted = f"a {a:9.4g}  b {b:9.2g}  c {c:9.2g}  off by {off:.0e}"
        lines.append(f"  {name:16} {fitted}  (law: {wanted})")
    few = fewest(found)
    lines.append(f"  HCA+ varies less than the value baseline at {few} apples")
    return "\n".join(lines)


def fewest(found: dict) -> str:
    """The numbers of apples at which hindsight on states varies less than the value baseline."""
    state = found["growth"]["HCA+ (state)"]
    value = found["growth"]["value baseline"]
    pairs = zip(found["apples"], state, value, strict=True)
    less = [str(number) for number, one, other in pairs if one < other]
    return ", ".join(less) or "no number of"


def rows(by_policy: dict[str, dict[str, Found]]) -> list[str]:
    lines = []
    for policy, by_scope in by_policy.items():
        for scope, by_name in by_scope.items():
            head = f"{policy} policy, {scope} decision{'s' if scope == 'all' else ''}"
            lines.append(f"  {head:38} {'bias':>8} {'variance':>8} {'SNR':>10}")
            for name, one in by_name.items():
                bias, variance = (decibels(one[number]) for number in NUMBERS[:2])
                lines.append(f"    {name:36} {bias} {variance} {one['snr']:10.3g}")
    return lines


def draw(found: dict, width: float = PAGE) -> Figure:
    """SNR at the key over the corridor's length, and the variance there over its apples."""
    with style():
        figure = Figure(figsize=(width, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        lengths = list(found["corridors"])

        def snr(name: str) -> list[float]:
            corridors = found["corridors"].values()
            return [one["found"]["uniform"]["first"][name]["snr"] for one in corridors]

        names = list(found["corridors"][lengths[0]]["found"]["uniform"]["first"])
        _lines(left, lengths, [name for name in names if name not in FORMS or name in LAWS], snr)
        left.set_xlabel("steps of the corridor")
        left.set_title("SNR of the key's gradient, uniform policy", loc="left")
        shown = [*LAWS, "HCA+ (state)"]
        apples = [number + 1 for number in found["apples"]]
        _lines(right, apples, shown, found["growth"].__getitem__)
        right.set_xlabel("1 + number of apples")
        right.set_title("variance / signal at the key", loc="left")
    return figure


def _lines(
    axes: Axes,
    x: list[int],
    names: list[str],
    read: Callable[[str], list[float]],
) -> None:
    for name in names:
        dashes = "o--" if "rollouts" in name else "o-"
        axes.plot(x, read(name), dashes, label=name, markersize=3, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(fontsize=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter corridors, fewer trees")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    options.out.mkdir(parents=True, exist_ok=True)
    found = measure(size)
    (options.out / f"{size.name}.json").write_text(json.dumps(found, indent=1))
    save(draw(found), options.out / f"{size.name}.png")
    print(report(found))


if __name__ == "__main__":
    main()
