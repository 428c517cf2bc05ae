"""What is hidden: privileged critics, hindsight from text alone, and branches that are fed again.

In maths, with h_t = (o_0, a_0, ..., o_t) and the latent Q_t(s, a) of a policy that sees o_t only,
a branch from the restored state is worth Q_t(s_t, a), one from a state that is redrawn from
P(s_t | h_t) is worth Q(h_t, a) = E[Q_t(s_t, a) | h_t] on average, and only the latter reaches the
gradient. The variance of a return from a redrawn state is

    Var(G | h, a) = E[Var(G | s, a) | h] + Var(Q_t(s, a) | h),

and two such branches differ by sqrt(2 Var) though they are nominally the same.

References:
    Propositions 1 and 2 of Zhang 2026, arXiv:2604.09459, read at second hand; Baisero and Amato
    2022, arXiv:2105.11674 (critics on state alone are biased in general). The rest is derived for
    casim, and all of it is enumerated.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

import casim
from casim.oracle.moments import enumerate_trajectories, precise
from hypotheses.exact import Table
from hypotheses.found import Claim, Found, Numbers, Panel, cosine, curve, total, verdict
from hypotheses.paths import Along, Paths, gradient, gradient_square, paths
from hypotheses.worlds import Preferences

POLICY = Preferences()
STALE = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
"""Probability that the hidden session turns around in a turn."""
UNSEEN = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
"""Probability that the text names the tool's mode wrongly."""
EXPLORE = (0.0, 0.01, 0.05, 0.2, 1.0)
"""Share of logs in which the behaviour tosses a coin."""
LOGS = (1, 3, 10, 30, 100, 300, 1000)
CERTAIN = 0.95
"""Chance of the right sign at which a number of logs is enough."""


class Replay(NamedTuple):
    """Of branches from the calls after the first, at one probability of a stale session."""

    bias: float
    """Root mean square error of the contrast, over that of the contrast itself."""
    cosine: float
    """Of the gradient that redrawn branches make."""
    fresh: float
    """Cosine where the session is always live when fed again, as where it is a new one."""
    floor: float
    """How much more two nominally equal branches differ than from a restored state."""
    pairs: float
    """Mean square of the gradient of paired contrasts, over that from restored states."""


def replay(stale: float) -> Replay:
    """Branches that feed the text again, against branches that restore the state."""
    task = casim.ToolChain(3, 1, 1, non_closure=stale)
    found = paths(task, POLICY)
    world = found.world
    restored = found.along(world.advantage)
    refed = found.given(found.acted, restored)
    session = np.array([state[-1] for state in task.states()])
    fresh = found.along(_as_live(world.advantage, session))
    within = found.along(world.return_variance)
    among = _among(found, found.along(world.q_value))
    redrawn = found.given(found.acted, within) + among
    missed = _later(found, (refed - restored) ** 2)
    wanted, _ = gradient(found, restored)
    return Replay(
        bias=math.sqrt(missed / _later(found, restored**2)),
        cosine=cosine(gradient(found, refed)[0], wanted),
        fresh=cosine(gradient(found, fresh)[0], wanted),
        floor=math.sqrt(_later(found, redrawn) / _later(found, within)),
        pairs=_pair_square(found, refed, redrawn) / _pair_square(found, restored, within),
    )


def _among(found: Paths, q_value: Along) -> Along:
    """Var(Q_t(s, a) | h, a)."""
    mean = found.given(found.acted, q_value)
    return found.given(found.acted, q_value**2) - mean**2


def _later(found: Paths, x: Along) -> float:
    """The mean over the calls after the first, at which something is hidden."""
    calls = np.flatnonzero(found.world.decides)[1:]
    return float(found.chance @ x[:, calls].mean(axis=1))


def _as_live(table: Table, session: np.ndarray) -> Table:
    """What a table says of the same state with a live session; states are in order."""
    live = np.arange(len(session)) - session
    return table[:, live]


def _pair_square(found: Paths, contrast: Along, own: Along) -> float:
    """E|g|^2 of the credit G(a) - G(a'), a' drawn afresh, each from a state of its own.

    In maths, the mean square of such a pair is contrast^2 + Var(G | a) + Var(G): for the second
    branch the action is averaged over.
    """
    one = contrast**2 + own
    other = found.given(found.history, one)
    return gradient_square(found, one + other)


def refed(_: bool) -> Found:
    """H15: what feeding the text again does to contrasts and to the gradient."""
    found = [replay(stale) for stale in STALE]
    at = found[STALE.index(0.2)]
    numbers = {
        "bias": at.bias,
        "floor": at.floor,
        "pairs": at.pairs,
        "cosine": min(one.cosine for one in found),
        "fresh_first": found[0].fresh,
        "fresh": at.fresh,
        "fresh_last": found[-1].fresh,
    }
    panel = Panel(
        title="branches that are fed again",
        x="P(session turns stale in a turn)",
        y="share, or cosine",
        curves=[
            curve("bias of contrasts", STALE, [one.bias for one in found]),
            curve("cosine, redrawn", STALE, [one.cosine for one in found]),
            curve("cosine, new session", STALE, [one.fresh for one in found]),
        ],
    )
    biased = numbers["bias"] > 0.01
    trains = numbers["cosine"] > 1 - 1e-9
    answer = verdict(holds=biased and not trains, fails=not biased)
    return Found(answer, numbers, panel)


Law = collections.defaultdict[tuple[int, float], float]
"""Of an action and an outcome."""


@functools.cache
def log_law(world: Literal[1, -1], explore: float) -> Law:
    """How likely a log is of each action and outcome; other things in it are constant.

    The behaviour plays the hidden cause, and with probability `explore` a fair coin.
    """
    task = casim.HiddenCause(world, horizon=2)
    mdp = task.build()
    confounded = np.asarray(task.confounded())
    behaviour = (1 - explore) * confounded + explore / 2
    found = enumerate_trajectories(*precise(mdp, behaviour))
    actions = found.trajectory.action[:, 0].tolist()
    rewards = found.trajectory.reward[:, -1].tolist()
    chances = found.probability.tolist()
    law: Law = collections.defaultdict(float)
    for action, reward, chance in zip(actions, rewards, chances, strict=True):
        law[action, reward] += chance
    return law


def distance(explore: float) -> float:
    """Total variation between the logs of the two worlds: how well one log tells them apart."""
    first, second = log_law(1, explore), log_law(-1, explore)
    logs = set(first) | set(second)
    return sum(abs(first[log] - second[log]) for log in logs) / 2


def accuracy(explore: float, logs: int) -> float:
    """The best chance of the right sign from so many logs, the worlds equally likely.

    In maths, each world has a failure of its own, which decides; of n successes alone, k with
    action 0, the likelier world is taken: 1/2 sum_k C(n, k) max_w p_w(0)^k p_w(1)^(n - k).
    """
    counts = np.arange(logs + 1)
    chances = []
    for world in (1, -1):
        law = log_law(world, explore)
        zero, one = law[0, 1.0], law[1, 1.0]
        # Logarithms, since there are many.
        chances.append(counts * math.log(zero) + (logs - counts) * math.log(one))
    factorial = np.array([math.lgamma(count + 1) for count in counts])
    ways = factorial[-1] - factorial - factorial[::-1]
    likelier = np.exp(ways + np.maximum(*chances))
    undecided = (zero + one) ** logs
    return 1 - undecided + total(likelier) / 2


def by_pairs(pairs: int) -> float:
    """The same from restored pairs, of which one in two differs: for one of the two causes."""
    return 1 - 0.5**pairs / 2


def enough(accuracy: Callable[[int], float]) -> float:
    """How many it takes to have the sign so often."""
    high = 1
    while accuracy(high) < CERTAIN:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if accuracy(middle) < CERTAIN:
            low = middle
        else:
            high = middle
    return float(high)


def text_only(_: bool) -> Found:
    """H16: what logs of text, actions and outcomes tell of the sign of an effect."""
    numbers = {"distance": distance(0.0), "pairs": enough(by_pairs)}
    for name, explore in (("one", 0.01), ("five", 0.05), ("twenty", 0.2)):
        numbers[name] = enough(functools.partial(accuracy, explore))
    curves = [
        curve(f"{explore:.0%} explored", LOGS, [accuracy(explore, logs) for logs in LOGS])
        for explore in EXPLORE
    ]
    panel = Panel(
        title="the sign from text alone",
        x="logs, or pairs",
        y="best chance of the right sign",
        curves=[*curves, curve("restored pairs", LOGS, [by_pairs(pairs) for pairs in LOGS])],
        log="x",
    )
    alike = numbers["distance"] == 0
    return Found(verdict(holds=alike, fails=not alike), numbers, panel)


class Privileged(NamedTuple):
    """What an actor learns from a critic."""

    cosine: float
    noise: float
    """Variance of the gradient, over that of the critic that knows the history."""


CRITICS = ("history", "state", "mode alone", "progress alone", "clairvoyant")


def privileged(unseen: float) -> dict[str, Privileged]:
    """Advantages of critics that know more or less, where the text names the mode wrongly."""
    task = casim.ToolChain(3, 1, 1, observation_noise=unseen)
    found = paths(task, POLICY)
    own = found.along(found.world.advantage)
    mode, _, broken, *_ = np.array(task.states()).T
    credit_of = (
        found.given(found.acted, own),
        own,
        _of_class(found, mode),
        _of_class(found, broken),
        found.along(clairvoyant(task)),
    )
    made = [gradient(found, credit) for credit in credit_of]
    # By the history is exact.
    wanted, base = made[0]
    return {
        name: Privileged(cosine(mean, wanted), noise / base)
        for name, (mean, noise) in zip(CRITICS, made, strict=True)
    }


def _of_class(found: Paths, of_state: np.ndarray) -> Along:
    """E[G | class, action] - E[G | class] at each step."""
    label = of_state[found.state]
    acted = label * found.world.policy.shape[2] + found.action
    q_value = found.along(found.world.q_value)
    return found.given(acted, q_value) - found.given(label, q_value)


def clairvoyant(task: casim.Task) -> Table:
    """Q* - V* of the best policy that sees the state."""
    mdp = task.build()
    process, _ = precise(mdp, POLICY.table(mdp))
    value = np.zeros(len(process.start))
    rows = []
    for m in reversed(process.schedule):
        outcome = process.reward[m] + value[process.successor[m]]
        q_value = np.sum(process.prob[m] * outcome, axis=-1)
        value = q_value.max(axis=1)
        rows.append(q_value - value[:, None])
    return np.array(rows[::-1])


def asking(task: casim.InformationSeeking) -> float:
    """What asking is worth to an agent that follows the answer."""
    return task.accuracy - task.cost - 1 / task.num_facts


def told(task: casim.InformationSeeking) -> float:
    """What it is worth to a clairvoyant critic."""
    start = np.flatnonzero(np.asarray(task.build().start))
    first = clairvoyant(task)[0, start]
    return float(np.mean(first[:, 0] - first[:, 1]))


def privileged_critics(_: bool) -> Found:
    """Critics that know the latent state, or a part of it, or the best policy."""
    found = [privileged(unseen) for unseen in UNSEEN]
    task = casim.InformationSeeking(horizon=2)
    lines = {name: [each[name].cosine for each in found] for name in CRITICS}
    numbers: Numbers = {
        "state": min(lines["state"]),
        "noise": found[-1]["state"].noise,
        "mode": min(lines["mode alone"]),
        "progress": min(lines["progress alone"]),
        "best": min(lines["clairvoyant"]),
        "price": task.cost,
        "asking": asking(task),
        "told": told(task),
        "fair": asking(task) + task.cost,
    }
    panel = Panel(
        title="critics that know more than the agent",
        x="P(text misleads)",
        y="cosine with the gradient",
        curves=[curve(name, UNSEEN, line) for name, line in lines.items()],
    )
    least = min(min(line) for line in lines.values())
    answer = verdict(holds=least > 1 - 1e-9, fails=numbers["state"] < 1 - 1e-9)
    return Found(answer, numbers, panel)


CLAIMS = (
    Claim(
        name="privileged_critics",
        hypothesis="checklist",
        says="a critic with privileged information is safe",
        answer="A critic that knows the whole state keeps the gradient (cosine {state:.6f}) at "
        "{noise:.0f} times the noise of one that knows the history where 40% of outputs mislead; "
        "one that knows the tool's mode alone falls to a cosine of {mode:.3f}, one that knows "
        "progress alone to {progress:.3f}, one of the best policy to {best:.3f}",
        flips="what the critic knows, and whose values it has: asking at a price of {price:.1f} "
        "is worth {asking:.2f}, and {told:.2f} to the clairvoyant, whose sign is wrong below a "
        "price of {fair:.2f}",
        exact=True,
        measure=privileged_critics,
    ),
    Claim(
        name="text_only",
        hypothesis="H16",
        says="logs of text leave the sign of a contrast open",
        answer="Logs of the two worlds of Proposition 2 are the same (distance {distance:.3f}), so "
        "that no estimator on logs has the sign more often than 1/2 at any number of them; "
        "{pairs:.0f} restored pairs have it with 95%",
        flips="exploration by the behaviour: with 1% of coin flips {one:.0f} logs are enough, "
        "with 5% {five:.0f}, with 20% {twenty:.0f}",
        exact=True,
        measure=text_only,
    ),
    Claim(
        name="refed",
        hypothesis="H15",
        says="feeding the text again is not restoring, and biases credit",
        answer="With a hidden session that turns around with probability 0.2 a turn, refed "
        "contrasts miss the restored ones by {bias:.0%} of their size, and equal branches differ "
        "{floor:.3f} times as much; yet the gradient that they make is exact (cosine "
        "{cosine:.6f}), at {pairs:.3f} times the mean square of restored pairs",
        flips="what is redrawn: from the posterior the gradient is exact, with a session that is "
        "always new the cosine is {fresh_first:.3f} at 0.02, {fresh:.3f} at 0.2 and "
        "{fresh_last:.3f} at 0.4",
        exact=True,
        measure=refed,
    ),
)
