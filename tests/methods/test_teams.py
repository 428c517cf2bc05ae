"""Methods for teams: on one nasty log by loops, and on games whose joint actions can be listed."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import (
    AdditiveMixing,
    Aligned,
    AllCoalitions,
    ByLeader,
    Chain,
    FormReward,
    Marginal,
    MonotoneMixing,
    Shapley,
    Times,
    Whole,
)
from casim.estimators.chain import parts_of
from casim.estimators.sources.mixing import inputs, mixed
from casim.graders import JointCritic, Shares
from casim.judges import Judge
from casim.oracle import path_target
from casim.simulate import World
from casim.targets import Advantage
from casim.tasks import Team
from tests import reference
from tests.enumeration import solve
from tests.methods import reference_trainers as ref
from tests.methods.test_trainers import agree, rows
from tests.tasks.test_team import table
from tests.tasks.test_team_games import left_out, pay, played, shapley

aims = jax.jit(path_target, static_argnums=0)
credit_of = jax.jit(
    lambda method, key, world, batch: method.credit(key, world, batch), static_argnums=0
)


def team_log():
    """The nasty log, written by three agents in turns of three tokens; agent 7 speaks once."""
    log = ref.nasty()
    steps = log["mask"].shape[1]
    turn = np.arange(steps) // 3 + np.zeros(log["mask"].shape, int)
    agent = np.where(turn % 2 == 0, 2, 5)
    agent[0] = np.where(turn[0] == 1, 7, agent[0])
    return {**log, "turn": turn, "agent": agent}


def samples(log, same):
    """For each token of the policy, the (row, turn) samples it is compared with."""
    found = []
    for i, mask in enumerate(log["mask"]):
        for turn in np.unique(log["turn"][i, mask]):
            (first, *_) = np.nonzero(mask & (log["turn"][i] == turn))[0]
            found.append((i, turn, log["agent"][i, first]))
    out = {}
    for i, turn, agent in found:
        out[i, turn] = [x for x in found if same(log, (i, agent), (x[0], x[2]))]
    return out


def of_agent(log, one, other):
    return log["prompt"][one[0]] == log["prompt"][other[0]] and one[1] == other[1]


def of_group(log, one, other):
    return log["prompt"][one[0]] == log["prompt"][other[0]]


def normalised(log, same, single="raw", epsilon=1e-6):
    """(R - mu_k) / (sigma_k + epsilon), every turn a sample."""
    r, out = ref.scores(log), np.zeros(log["mask"].shape)
    for (i, turn), peers in samples(log, same).items():
        those = [r[x[0]] for x in peers]
        here = log["mask"][i] & (log["turn"][i] == turn)
        if len(those) == 1:
            out[i, here] = r[i] / (1 + epsilon) if single == "raw" else 0.0
        elif np.ptp(those) > 0:
            out[i, here] = (r[i] - np.mean(those)) / (ref.deviation(those) + epsilon)
    return out


@pytest.mark.parametrize(("name", "same"), [("DR_MAS", of_agent), ("DR_MAS_GLOBAL", of_group)])
def test_dr_mas_is_its_formula(name, same):
    log = team_log()
    wanted = normalised(log, same)
    agree(rows(name, log), wanted, log, 1e-9, name)
    lone = (log["agent"] == 7) & log["mask"]
    if name == "DR_MAS":
        np.testing.assert_allclose(wanted[lone], ref.scores(log)[0] / (1 + 1e-6))


def test_the_scale_that_agents_have_under_one_baseline_is_the_lemma():
    """E[A^2 | agent k] = (sigma_k^2 + (mu_k - mu)^2) / sigma^2."""
    log = team_log()
    found = rows("DR_MAS_GLOBAL", log)
    r = ref.scores(log)
    groups = samples(log, of_group)
    for i, turn in ((0, 0), (0, 2), (2, 1)):
        everyone = groups[i, turn]
        agent = log["agent"][i, 3 * turn]
        own = [x for x in everyone if x[2] == agent]
        returns = np.array([r[x[0]] for x in own])
        all_returns = [r[x[0]] for x in everyone]
        square = np.mean([found[x[0]][log["mask"][x[0]]][0] ** 2 for x in own])
        away = returns.mean() - np.mean(all_returns)
        scale = (ref.deviation(all_returns) + 1e-6) ** 2
        assert square == pytest.approx((returns.var() + away**2) / scale, rel=1e-9)


@pytest.mark.slow
def test_under_a_router_who_is_called_late_is_trained_on_larger_numbers():
    """The lemma's factor of three agents that are right with probability 0.6 each."""
    task = Team(num_agents=3, joint="any", coupling=1.0, router=True)
    _, truth = world_of(task, [[0.6, 0.4]] * 3)
    called = np.asarray(truth.occupancy, float)
    mean = (called * np.asarray(truth.value)[:3]).sum(axis=1) / called.sum(axis=1)
    np.testing.assert_allclose(mean, [1 - 0.4**3, 1 - 0.4**2, 0.6], atol=1e-6)
    share = called.sum(axis=1) / called.sum()
    whole = share @ mean
    factor = (mean * (1 - mean) + (mean - whole) ** 2) / (whole * (1 - whole))
    np.testing.assert_allclose(factor, [0.587, 1.258, 2.934], atol=1e-3)


def forms(log):
    """Which tokens break the form: one of a leader, one of a sub-agent."""
    broken = np.zeros(log["mask"].shape)
    broken[2, 0] = -1.0
    broken[4, 4] = -0.5
    return np.stack([log["reward"], broken], axis=-1)


def test_m_grpo_is_its_formula():
    log = team_log()
    log["component"] = forms(log)
    broken = log["component"][..., 1] < 0
    leader = log["agent"] == log["agent"][:, :1]
    right = np.where((broken & leader).any(axis=1), 0.0, ref.scores(log))
    main = np.where((broken & leader).any(axis=1), 0.0, 0.1 + 0.9 * right)
    wanted = np.zeros(log["mask"].shape)
    calls, leads = {}, {}
    for i, mask in enumerate(log["mask"]):
        for turn in np.unique(log["turn"][i, mask]):
            here = log["turn"][i] == turn
            if leader[i, here][0]:
                leads[i] = (log["prompt"][i], log["agent"][i, 0], main[i])
            else:
                worth = 0.0 if (broken[i] & here).any() else 0.1 + 0.9 * right[i]
                calls[i, turn] = (log["prompt"][i], log["agent"][i, here][0], worth)

    def z(own, those):
        values = [x[2] for x in those if x[:2] == own[:2]]
        if len(values) < 2 or np.ptp(values) == 0:
            return 0.0
        return (own[2] - np.mean(values)) / (ref.deviation(values) + 1e-6)

    for i, own in leads.items():
        wanted[i, leader[i]] = z(own, leads.values())
    for (i, turn), own in calls.items():
        wanted[i, log["turn"][i] == turn] = z(own, calls.values())
    agree(rows("M_GRPO", log), wanted, log, 1e-9, "M_GRPO")


@pytest.mark.parametrize("number", [1, 3])
def test_alignment_counts_every_rollout_the_same(number):
    """D calls of each in all: none twice where there are enough, each at least once where not."""
    log = {name: x for name, x in team_log().items() if name != "component"}
    found = rows(Chain(Aligned(number)), log, "weight")
    leader = log["agent"] == log["agent"][:, :1]
    np.testing.assert_array_equal(found[leader & log["mask"]], 1.0)
    for i, mask in enumerate(log["mask"]):
        turns = np.unique(log["turn"][i, mask & ~leader[i]])
        each = [found[i, mask & ~leader[i] & (log["turn"][i] == x)] for x in turns]
        assert all(np.ptp(x) == 0 for x in each)
        times = number * np.array([x[0] for x in each])
        if len(turns):
            assert times.sum() == pytest.approx(number)
            few = len(turns) < number
            assert times.min() > 1 - 1e-9 if few else times.max() < 1 + 1e-9


def test_mappa_whitens_the_score_of_a_turn_over_the_tokens_of_its_agent():
    log = {name: x for name, x in team_log().items() if name != "component"}
    log["reward"] = np.where(log["mask"], np.random.default_rng(3).normal(size=(13, 11)), 0.0)
    last = Chain(*parts_of(methods.MAPPA.recipe)[1:])
    score = np.zeros(log["mask"].shape)
    for i, mask in enumerate(log["mask"]):
        for turn in np.unique(log["turn"][i, mask]):
            here = np.nonzero(mask & (log["turn"][i] == turn))[0]
            score[i, here] = log["reward"][i, here[-1]]
    wanted = np.zeros(log["mask"].shape)
    for agent in np.unique(log["agent"]):
        here = log["mask"] & (log["agent"] == agent)
        values = score[here]
        wanted[here] = (values - values.mean()) / np.sqrt(max(values.var(), 1e-8))
    agree(rows(last, log), wanted, log, 1e-9, "MAPPA")


MATRICES = (
    ([[0.0, 1.0], [1.0, 8.0]], [[-1.5, 2.5], [2.5, 6.5]]),
    (
        [[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]],
        [[-6.22, -4.89, -4.89], [-4.89, -3.56, -3.56], [-4.89, -3.56, -3.56]],
    ),
)
"""Payoffs of two agents, and what VDN makes of them under uniform play."""


def matrix_log(payoff):
    """Every joint action once."""
    joint = list(np.ndindex(*np.shape(payoff)))
    number, agents = len(joint), np.ndim(payoff)
    reward = np.zeros((number, agents))
    reward[:, -1] = [np.asarray(payoff)[x] for x in joint]
    return {
        "reward": reward,
        "mask": np.ones((number, agents), bool),
        "prompt": np.zeros(number, int),
        "agent": np.broadcast_to(np.arange(agents), (number, agents)),
        "action": np.array(joint),
    }


@pytest.mark.parametrize(("payoff", "wanted"), MATRICES)
def test_vdn_is_the_additive_projection(payoff, wanted):
    """Row and column effects; the best of the projection of the second is not its best."""
    found = rows(AdditiveMixing(0), matrix_log(payoff))
    total = np.mean(payoff) + found.sum(axis=1)
    np.testing.assert_allclose(total.reshape(np.shape(payoff)), wanted, atol=5e-3)


def test_without_coupling_the_additive_fit_is_the_credit_of_independent_agents():
    """Under coupling it is not; a free rider gets nothing either way."""
    task = Team(num_agents=3, coupling=0.0, null_agent=1)
    payoff = np.zeros((2, 2, 2))
    for joint in itertools.product(range(2), repeat=3):
        payoff[joint] = pay(task, joint)
    found = rows(AdditiveMixing(0), matrix_log(payoff))
    right = matrix_log(payoff)["action"] == 0
    wanted = np.where(right, 0.25, -0.25)
    wanted[:, 1] = 0.0
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def world_of(task, chance, judges=None):
    mdp = task.build()
    policy = jnp.asarray(table(mdp, chance))
    truth = jax.jit(solve)(mdp, policy)
    models = {name: judge.model(mdp, truth) for name, judge in (judges or {}).items()}
    return World.make(mdp, policy, judges=models), truth


CHANCE = [[0.3, 0.7], [0.6, 0.4], [0.85, 0.15]]
JUDGES = {"joint": JointCritic(), "shares": Shares(), "judge": Judge("gap")}
SOUND = ("LLM_MCA", "COMA", "ARISTOCRAT", "SHAPLEY_AGENTS_EXACT")


def every_play(world):
    """All joint actions of three agents as one group, with no reward."""
    joint = list(itertools.product(range(2), repeat=3))
    each = [played(world.mdp, list(x)) for x in joint]
    plays = jax.tree.map(lambda *x: jnp.concatenate(x)[None], *each)
    kept = {"state": plays.state.astype(jnp.int8), "observation": plays.observation}
    return world.attach(plays._replace(**kept)), joint


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [0.0, 1.0])
@pytest.mark.parametrize("joint", ["any", "all"])
def test_exact_words_on_a_team_are_those_of_its_joint_actions(joint, coupling):
    """COMA's is the difference to a draw, LLM-MCA's the Shapley value.

    Without coupling they are the advantage, and that of an independent agent.
    """
    task = Team(num_agents=3, coupling=coupling, joint=joint, order="simultaneous", null_agent=1)
    world, truth = world_of(task, CHANCE, JUDGES)
    batch, plays = every_play(world)
    key = jax.random.key(0)
    coma = np.asarray(credit_of(methods.COMA, key, world, batch).value)[0]
    shares = np.asarray(credit_of(methods.LLM_MCA, key, world, batch).value)[0]
    np.testing.assert_allclose(coma, [left_out(task, x, CHANCE) for x in plays], atol=1e-6)
    np.testing.assert_allclose(shares, [shapley(task, x, CHANCE) for x in plays], atol=1e-6)
    assert not coma[:, 1].any()
    assert not shares[:, 1].any()
    if coupling == 0:
        right = np.array(plays) == 0
        alone = (right - np.array(CHANCE)[:, 0]) / 2 * [1, 0, 1]
        flat = jax.tree.map(lambda x: x[0], batch[:6])
        advantage = aims(Advantage(), world, truth, type(played(world.mdp, [0, 0, 0]))(*flat))
        for found in (coma, shares, advantage):
            np.testing.assert_allclose(found, alone, atol=1e-6)


@pytest.mark.slow
def test_with_full_coupling_reruns_without_an_agent_are_exact():
    """Nothing is left to chance but the draws of absent agents, and defaults draw nothing.

    SHARP's marginal pays three redundant agents nothing, and three that are needed all the whole.
    """
    for joint, lost in (("any", 0.0), ("all", 1.0)):
        task = Team(num_agents=3, coupling=1.0, joint=joint, order="simultaneous")
        world, _ = world_of(task, CHANCE)
        batch = jax.jit(World.groups, static_argnums=(2, 3))(world, jax.random.key(3), 2, 7)
        taken = np.asarray(batch.action).reshape(-1, 3)
        wanted = [left_out(task, x, [[0.0, 1.0]] * 3) for x in taken]
        for method in (methods.SHARP_MARGINAL, methods.DIFFERENCE_REWARDS):
            credit = credit_of(method, jax.random.key(1), world, batch)
            np.testing.assert_allclose(np.reshape(credit.value, (-1, 3)), wanted, atol=1e-6)
        together = np.asarray(wanted)[(taken == 0).all(axis=1)]
        np.testing.assert_array_equal(together, np.full_like(together, lost))
        whole = np.asarray(batch.reward).sum(axis=-1, keepdims=True)
        mixed = whole + np.reshape(wanted, (2, 7, 3))
        mean, deviation = (
            mixed.mean(axis=1, keepdims=True),
            mixed.std(axis=1, ddof=1, keepdims=True),
        )
        score = np.where(
            np.ptp(mixed, axis=1, keepdims=True) > 0, (mixed - mean) / (deviation + 1e-6), 0
        )
        sharp = credit_of(methods.SHARP, jax.random.key(1), world, batch)
        np.testing.assert_allclose(sharp.value, score, atol=1e-4)
        assert float(sharp.cost.env_steps) == 2 * 7 * 3 * 3


@pytest.mark.slow
def test_coma_is_exact_where_agents_act_at_once_and_not_where_they_react():
    """E[sum_t A_t grad log pi(a_t)] over all joint actions, against the exact gradient."""
    off = {}
    for order in ("simultaneous", "sequential"):
        task = Team(num_agents=3, coupling=0.7, order=order)
        world, truth = world_of(task, CHANCE, {"joint": JointCritic()})
        mdp = world.mdp
        policy = np.array(world.policy, np.float64)
        if order == "sequential":
            policy[:, 1:] = np.array([[0.8, 0.2], [0.25, 0.75]])[None]
            world = World.make(mdp, jnp.asarray(policy, jnp.float32))
            truth = jax.jit(solve)(mdp, world.policy)
            critic = JointCritic().model(mdp, truth)
            world = World.make(mdp, world.policy, judges={"joint": critic})
        paths = reference.enumerate_paths(mdp, policy)
        found = np.zeros(policy.shape)
        names = ("state", "observation", "action", "reward", "live")
        seen = {name: jnp.asarray(getattr(paths, name))[None] for name in names}
        every = played(mdp, [0, 0, 0])._replace(**seen, log_prob=jnp.zeros(seen["reward"].shape))
        batch = world.attach(every._replace(reward=every.reward.astype(jnp.float32)))
        value = np.asarray(credit_of(methods.COMA, jax.random.key(0), world, batch).value)[0]
        schedule = np.asarray(mdp.schedule)
        for row, chance in enumerate(paths.probability):
            for t in range(3):
                place = schedule[t], paths.observation[row, t]
                score = np.eye(2)[paths.action[row, t]] - policy[place]
                found[place] += chance * value[row, t] * score
        off[order] = np.abs(found - np.asarray(truth.gradient)).max()
    assert off["simultaneous"] < 1e-6
    assert off["sequential"] > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("discount", [29 / 32, 1.0])
def test_the_joint_critic_is_enumerated(discount):
    """Hidden states, early ends, steps of the environment, rewards on the way."""
    mdp, policy = reference.random_mdp(3, schedule=(0, 2, 1), discount=discount)
    truth = jax.jit(solve)(mdp, policy)
    world = World.make(mdp, policy, judges={"joint": JointCritic().model(mdp, truth)})
    batch = world.groups(jax.random.key(2), 1, 4)
    said = np.asarray(world.judge(jax.random.key(0), batch, "joint"))[0]
    for i in range(4):
        live = np.asarray(batch.live)[0, i]
        taken = np.where(live, np.asarray(batch.action)[0, i], -1)
        start = np.eye(len(mdp.start))[np.asarray(batch.state)[0, i, 0]]
        assert np.isnan(said[i][~live]).all()
        for t, action in itertools.product(np.nonzero(live)[0], range(2)):
            if not np.asarray(mdp.decision)[mdp.schedule[t]] and action:
                continue
            imposed = np.where(np.arange(3) == t, action, taken)
            paths = reference.enumerate_paths(mdp, policy, start=start, imposed=imposed)
            worth = paths.probability @ paths.returns(reference.by_step(mdp))
            assert said[i, t, action] == pytest.approx(worth, abs=2e-5)


@pytest.mark.slow
def test_shares_are_wrong_in_the_stated_ways():
    task = Team(num_agents=3, coupling=0.6, order="simultaneous")
    judges = {
        "exact": Shares(),
        "equal": Shares(uninformed=1.0),
        "half": Shares(uninformed=0.5, bias=0.25),
        "swapped": Shares(swap=1.0),
        "noisy": Shares(noise=0.5),
        "difference": Shares("difference", null=1),
    }
    world, _ = world_of(task, CHANCE, judges)
    batch = world.groups(jax.random.key(2), 1, 2000)
    said = {name: np.asarray(world.judge(jax.random.key(1), batch, name))[0] for name in judges}
    earned = np.asarray(batch.reward)[0].sum(axis=-1, keepdims=True)
    equal = np.broadcast_to(earned / 3, said["exact"].shape)
    np.testing.assert_allclose(said["equal"], equal, atol=1e-6)
    np.testing.assert_allclose(said["half"], (said["exact"] + equal) / 2 + 0.25, atol=1e-6)
    error = said["noisy"] - said["exact"]
    assert error.std() == pytest.approx(0.5, rel=0.05)
    assert abs(error.mean()) < 3 * 0.5 / np.sqrt(error.size)
    for agent in range(3):
        others = np.delete(said["exact"], agent, axis=1)
        off = np.abs(others - said["swapped"][:, agent, None])
        assert off.min(axis=1).max() < 1e-6
        share = (off[:, 0] < 1e-7).mean()
        assert 0.4 < share < 0.9
    taken = np.asarray(batch.action)[0, :5]
    wanted = [left_out(task, x, [[0.0, 1.0]] * 3) for x in taken]
    np.testing.assert_allclose(said["difference"][:5], wanted, atol=1e-6)


@pytest.mark.slow
def test_a_monotone_mixer_holds_synergy_and_not_what_changes_sign():
    """The root mean square of what is left of the payoffs; an additive fit leaves 1.5 and 4.2."""
    left = []
    for payoff, _ in MATRICES:
        payoff = np.array(payoff)
        actions = len(payoff)
        design = np.zeros((actions**2, 2, actions))
        for row, (a, b) in enumerate(np.ndindex(actions, actions)):
            design[row, 0, a] = design[row, 1, b] = 1.0
        source = MonotoneMixing(num_updates=3000)
        fit = jax.jit(lambda x, y, source=source: source._fit(jax.random.key(0), x, y))
        design, earned = jnp.asarray(design), jnp.asarray(payoff.ravel())
        model = fit(design, earned)
        utility = jnp.einsum("rik,ik->ri", design, model.table)
        total = np.asarray(mixed(model, inputs(model, utility)))
        left.append(np.sqrt(np.mean((total - payoff.ravel()) ** 2)))
        slope = jax.vmap(jax.grad(lambda u, m=model: mixed(m, inputs(m, u))))(utility)
        assert (np.asarray(slope) >= 0).all()
    assert left[0] < 0.05
    assert left[1] > 1.0


@pytest.mark.slow
def test_hand_written_shares_scale_the_fit_and_0_gets_no_credit():
    task = Team(num_agents=3, coupling=0.3, order="simultaneous")
    world, _ = world_of(task, CHANCE, {"judge": Judge("gap")})
    batch = world.groups(jax.random.key(0), 1, 6)

    def credit(recipe):
        return np.asarray(credit_of(recipe, jax.random.key(1), world, batch).value)

    plain = credit(AdditiveMixing(64))
    # A constant share is taken up by the table.
    scaled = credit(AdditiveMixing(64, shares=(2.0, 1.0, 0.5)))
    np.testing.assert_allclose(scaled, plain, atol=1e-4)
    lazy = credit(AdditiveMixing(64, shares=(1.0, 1.0, 0.0)))
    assert np.abs(plain[..., 2]).max() > 0.05
    assert not lazy[..., 2].any()
    with pytest.raises(ValueError, match="number of shares must be in"):
        AdditiveMixing(64, shares=(1.0,)).credit(jax.random.key(0), world, batch)


RIDE = {
    "DR_MAS": (1.0, 1.0),
    "DR_MAS_GLOBAL": (1.0, 1.0),
    "M_GRPO": (1.0, 1.0),
    "MAPPA": (0.9, 1.1),
    "SHARP_MARGINAL": (0.5, 1.1),
    "COMA": (0.0, 0.0),
    "LLM_MCA": (0.0, 0.0),
    "DIFFERENCE_REWARDS": (0.0, 0.0),
    "ARISTOCRAT": (0.0, 0.0),
    "SHAPLEY_AGENTS": (0.0, 0.0),
    "VDN": (0.02, 0.5),
}
"""Root mean square of the credit of a free rider, over that of the others: between these."""


@pytest.mark.slow
def test_what_each_method_gives_to_a_free_rider():
    """Exactly nothing, as much as anybody, or the error of a fit; docs/teams.md has the numbers."""
    task = Team(num_agents=4, coupling=0.5, order="simultaneous", null_agent=1)
    judges = {**JUDGES, "coach": Judge("q_value", resolution=11)}
    world, _ = world_of(task, [*CHANCE, [0.4, 0.6]], judges)
    draw = jax.jit(World.groups, static_argnums=(2, 3))
    batch = draw(world, jax.random.key(0), 100, 8)
    for name, (least, most) in RIDE.items():
        method = methods.named_methods()[name]
        value = np.asarray(credit_of(method, jax.random.key(1), world, batch).value, float)
        square = (value**2).mean(axis=(0, 1))
        share = np.sqrt(square[1] / np.delete(square, 1).mean())
        assert least - 1e-6 <= share <= most + 1e-6, (name, share)


@pytest.mark.slow
@pytest.mark.parametrize("of", [Shapley(2), AllCoalitions()], ids=["sampled", "exact"])
def test_agents_of_one_segment_each_are_segments(of):
    world, _ = world_of(Team(num_agents=3, tokens_per_agent=2, null_agent=1), CHANCE)
    batch = world.groups(jax.random.key(0), 1, 4)
    kind = type(of)
    settings = {} if kind is AllCoalitions else {"num_permutations": 2}
    both = [
        credit_of(x, jax.random.key(1), world, batch) for x in (of, kind(**settings, unit="agent"))
    ]
    np.testing.assert_array_equal(both[0].value, both[1].value)
    assert not np.asarray(both[0].value)[..., 2:4].any()
    assert both[0].cost == both[1].cost


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Marginal("step"), "unit must be one of"),
        (lambda: Marginal(null=-1), "null must be in"),
        (lambda: Marginal(whole="none"), "whole must be one of"),
        (lambda: Shapley(unit="step"), "unit must be one of"),
        (lambda: Shapley(unions=True, unit="agent"), "unit of unions must be one of"),
        (lambda: AllCoalitions(unit="step"), "unit must be one of"),
        (lambda: AdditiveMixing(-1), "num_rollouts must be in"),
        (lambda: AdditiveMixing(shares=(-1.0,)), "shares must be in"),
        (lambda: AdditiveMixing(temperature=0.0), "temperature must be in"),
        (lambda: MonotoneMixing(0), "num_rollouts must be in"),
        (lambda: MonotoneMixing(learning_rate=0.0), "learning_rate must be in"),
        (lambda: FormReward(2.0), "low must be in"),
        (lambda: Aligned(0), "number must be in"),
        (lambda: JointCritic(-1.0), "noise must be in"),
        (lambda: Shares("half"), "of must be one of"),
        (lambda: Shares(unit="step"), "unit must be one of"),
        (lambda: Shares(swap=2.0), "swap must be in"),
        (lambda: Shares(uninformed=-0.1), "uninformed must be in"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_team_of_parts_costs_and_needs_what_they_do():
    both = ByLeader(Chain(Whole(), Times(2.0)), Marginal("agent"))
    assert both.needs == {"reset"}
    assert both.judges == frozenset()
    assert not both.stateful
