# %% [markdown]
# # Agents: hidden state, turns, tools, teams
#
# An agent takes turns with tools, does not see everything, stops when it likes, and may be one of
# several. Each of these breaks an assumption that credit for a single answer could make. Four small
# worlds, one assumption each.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import casim
from casim.estimators import Baseline, Chain, Whole
from casim.figures import style
from casim.lessons import check
from casim.lessons.agents import along, gap_of_turns, goes_on, parts, scale_of_turn, tool_paths

# %% [markdown]
# ## 1. What the agent cannot know
#
# A fact is hidden, one of two, each as likely. The agent may *ask*: it costs 0.1, and the answer is
# right with probability 0.95. Then it must name the fact, and earns 1 if it is right. Our agent
# asks by a coin flip, believes what it is told, and guesses if it did not ask.
#
# Its advantage $A(h, a)$ is that of a **history** $h$: what it has seen. A critic in training may
# know more. Take a *clairvoyant* one, which knows the fact and measures against the best play of
# somebody who knows it, $Q^*(s, a) - V^*(s)$.
#
# **Question 8.1.** What does each of the two say of asking? And up to which price is it worth
# asking, for the agent?

# %% tags=["answer"]
agent_says = (0.95 - 0.1 - 0.5) / 2  # A of asking, by the agent's history
clairvoyant_says = -0.1  # by the critic that knows the fact
largest_price = 0.95 - 0.5  # at which the agent gains nothing by asking

# %%
check("8.1", agent_says, clairvoyant_says, largest_price)

# %% [markdown] tags=["solution"]
# Asking earns $0.95 - 0.1 = 0.85$ and not asking 0.5, and the agent asks half of the time: $V =
# 0.675$, so $A = +0.175$. To one who knows the fact the answer tells nothing, and what remains is
# the price: $-0.1$, whatever it is. So a judge that is shown the answer key teaches the agent never
# to ask, at any price between 0 and $0.95 - 0.5 = 0.45$, where asking pays. Knowledge is not the
# harm in itself: a critic that sees the state *and follows the agent's own policy* is right once it
# is averaged over what the agent cannot see.

# %% [markdown]
# ## 2. Turns that not everybody reaches
#
# Now an agent that may stop. It goes on with probability 0.7 after each turn, at most five turns,
# and what it earns depends on the turn at which it stops. Of a group of $n$ episodes, $K_t$ are
# still there at turn $t$. A baseline **by turn** subtracts the mean return of these $K_t$.
#
# With oneself in the mean, $\frac1{K_t}$ of one's own return is taken back, and the credit is on
# average
#
# $$\Big(1 - \mathbb E\Big[\frac1{K_t}\Big]\Big)\, A_t,$$
#
# up to what both actions get alike. $K_t$ counts oneself, who is there.
#
# **Question 8.2.** A group of 2. By which factor is the advantage scaled, at turn 0 and at turn 1?
# And at turn 1 where oneself is left out of the mean, and a step without peers keeps its return?

# %% tags=["answer"]
factor_0 = 1 - 1 / 2  # turn 0, oneself in the mean
factor_1 = 1 - (0.7 / 2 + 0.3 / 1)  # turn 1, oneself in the mean
factor_1_out = 1.0  # turn 1, oneself left out

# %%
check("8.2", factor_0, factor_1, factor_1_out)

# %% [markdown] tags=["solution"]
# At turn 0 both are there: half is taken back. At turn 1 the other is there with probability 0.7;
# if it is not, the mean is one's own return, and nothing is left. Each turn has a factor of its
# own, so that this is no matter of step size: late turns learn more slowly, and the direction of
# the gradient changes. Without oneself in the mean, what is subtracted was earned by others, whom
# the action cannot change: nothing is scaled, however few are left.

# %% [markdown]
# That is the whole dispute on baselines by turn: *not biased if it is made of others only*. Where a
# trainer gives 0 to a step without peers, it is biased again, by the factor $P(K_t > 1)$.
#
# ## 3. The tool's luck
#
# A chain of two turns. In a turn the agent writes two tokens, the second of which is the call, and
# the tool writes one. A call that fits the tool's mode works with probability 0.9, another with
# 0.1; calls that fail may break the task, which is verified in the end. The agent flips coins.

# %%
paths, truth = tool_paths()  # all of its episodes, with their probabilities
reward, value, q_taken = along(paths, truth)
success = paths.probability @ reward.sum(axis=1)
print(f"{len(reward)} episodes of {reward.shape[1]} steps, success {success:.4f}")

# %% [markdown]
# What happens at a step has two parts. The agent's choice, its **skill**, is the advantage
# $Q_t(s_t, a_t) - V_t(s_t)$. What the environment then adds is **luck**. The two make the TD error
# $\delta_t = r_t + V_{t+1}(s_{t+1}) - V_t(s_t)$, the credit by an exact critic. All of the TD
# errors of an episode add up to $R - V_0$, and they are uncorrelated.
#
# **Question 8.3.** Write the luck of each step of an episode. Then predict: what do the squares
# $\mathbb E[\delta_t^2]$ add up to over an episode, with the success that was printed?

# %% tags=["answer"]


def luck_of(reward, value, q_taken):
    """The luck of each of the T steps of an episode."""
    # reward[t] and q_taken[t], which is Q of what was done, have T entries;
    # value[t] has T + 1, the last of them 0. No loop is needed.
    return reward + value[1:] - q_taken


sum_of_squares = 0.3743 * (1 - 0.3743)  # of the TD errors, expected

# %%
check("8.3", luck_of, sum_of_squares)

# %% [markdown] tags=["solution"]
# Luck is what was earned and what is to come, less what was to be expected after the action.
# Uncorrelated parts of a sum: their mean squares add up to the variance of the sum, which is that
# of the outcome, $p\,(1 - p) = 0.234$. It doesn't matter how the episode is cut, or how few of its
# calls decide: with the tool's luck in it, credit is as noisy in all as the outcome.

# %%
for name, squares in parts().items():
    print(f"{name:<6}", np.round(squares, 3), f"in all {squares.sum():.3f}")

# %% [markdown]
# Steps 2 and 5 are the tool's own. The agent decides nothing there: skill is 0, exactly, and a
# method that broadcasts an outcome must mask these tokens, or it teaches the model to speak like
# its tool. Luck lies where the call is, beside the skill, and there it is the larger part. No
# critic can take it out of what happened, however exact: only credit that averages over what the
# tool might have done, such as the advantage, or branches from the call.
#
# ## 4. What one of several is due
#
# Three agents act at once, each is right with probability 1/2, and it is enough that *any* is
# right. An agent's **difference reward** is the outcome less what it is if this agent alone draws
# again.
#
# **Question 8.4.** What is it, on average over the new draw, for an agent that was right, in an
# episode where all three were? And on average over what the other two may do?

# %% tags=["answer"]
difference_here = 0.0  # all three were right
difference_mean = 0.5**2 * 0.5  # it was right, the others as they come

# %%
check("8.4", difference_here, difference_mean)

# %% [markdown] tags=["solution"]
# Where the others were right, the team succeeds without it: 0. Its Shapley value in this episode
# would be $\frac13 (1 - \frac12)^3 = 0.04$ (lesson 5), and neither is wrong: one shares out a
# success, the other asks what depends on the agent. On average it is needed where both others are
# wrong, with probability $\frac14$, and then it saves the $\frac12$ that a new draw would lose:
# 0.125, its advantage. So difference rewards train every agent in the right direction, even though
# they often pay nobody.

# %% [markdown]
# The figure of this lesson. Left: by how much a mean by turn scales the advantage. Lines are exact,
# marks are sampled from groups of 4, at the turns where it matters much what is done. Right: a team
# of four with a *free rider*, whose actions count for nothing. It is due 0. Drawn is the size of
# its credit, root mean square, over that of the others, from 300 groups of 8. All intervals are of
# 95%.


# %% tags=["hide-input"]
def credit_of(world, methods, size, num):
    """Actions, who is there, and the credit of each method, a row an episode."""

    def group(key):
        data = world.groups(jax.random.fold_in(key, 0), 1, size)
        own = jax.random.fold_in(key, 1)
        values = [method.credit(own, world, data).value for method in methods]
        return data.action, data.live, jnp.stack(values)

    keys = jax.random.split(jax.random.key(3), num)
    action, live, values = jax.jit(jax.vmap(group))(keys)
    rows = np.moveaxis(np.asarray(values, float), 1, 0)
    return np.asarray(action)[:, 0], np.asarray(live)[:, 0], rows[:, :, 0]


def sampled_scale(turn):
    """The difference that the credit makes between going on and stopping, over the exact one."""
    means, errors = [], []
    for chosen in (1, 0):
        found = credit[0][live[:, :, turn] & (action[:, :, turn] == chosen), turn]
        means.append(found.mean())
        errors.append(found.std() / len(found) ** 0.5)
    gap = exact_gap[turn]
    return (means[0] - means[1]) / gap, 1.96 * np.hypot(*errors) / abs(gap)


turns = casim.VariableTurns()
mdp = turns.build()
stopping = casim.World.make(mdp, jnp.asarray(goes_on(mdp)))
by_turn = Chain(Whole(), Baseline("turn"))
action, live, credit = credit_of(stopping, [by_turn], size=4, num=2000)
exact_gap = gap_of_turns()

team = casim.Team(num_agents=4, coupling=0.5, order="simultaneous", null_agent=1)
mdp = team.build()
teamwork = casim.World.make(mdp, casim.Uniform().table(mdp))
methods = {
    "RLOO, to all alike": casim.methods.RLOO,
    "C3, own noise": casim.methods.C3_AGENTS,
    "difference reward,\ncommon noise": casim.methods.DIFFERENCE_REWARDS,
}
_, _, shares = credit_of(teamwork, list(methods.values()), size=8, num=300)


def draw_scales(axis):
    """By how much a mean by turn scales the advantage."""
    places = np.arange(5)
    axis.plot(places, scale_of_turn(2, own=False), "k--", label="others only, any $n$")
    for size, color in ((8, "#009E73"), (4, "#0072B2"), (2, "#D55E00")):
        axis.plot(places, scale_of_turn(size), color=color, label=f"with oneself, $n = {size}$")
    for turn in places[np.abs(exact_gap) > 0.5]:
        scale, half = sampled_scale(turn)
        axis.errorbar(turn, scale, half, fmt="o", color="#0072B2", capsize=2)
    axis.set(xlabel="turn", ylabel="scale of the advantage", ylim=(0, 1.5), xticks=places)
    axis.legend(loc="upper center", ncols=2, columnspacing=1)


def draw_riders(axis):
    """How large a free rider's credit is beside that of the others."""
    for place, found in enumerate(shares):
        square = np.mean(found**2, axis=1)  # of each group and agent
        rider = square[:, 1]
        others = square[:, [0, 2, 3]].mean(axis=1)
        share = np.sqrt(rider.mean() / others.mean())
        error = np.std(rider - share**2 * others) / len(rider) ** 0.5
        half = 1.96 * error / (2 * share * others.mean()) if share > 0 else 0.0
        axis.errorbar(share, place, xerr=half, fmt="o", color="#CC79A7", capsize=2)
    axis.set_yticks(range(len(methods)), list(methods))
    axis.set(xlabel="free rider's credit over the others'", xlim=(-0.05, 1.2), ylim=(2.5, -0.5))


with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    draw_scales(left)
    draw_riders(right)
plt.show()

# %% [markdown]
# - **A baseline by turn is right if it is made of others only**, and else shrinks what is late.
# - A broadcast pays the free rider like everybody. C3 compares replays: on average it gives the
#   free rider 0, but each replay has noise of its own, and that is as large as anybody's credit.
#   Only counterfactuals under the same noise give 0 in every episode.
# - The advantage of a history, skill without luck, difference under common noise: each averages
#   over something that the agent did not choose, and leaves it out.
#
# ## An open question
#
# A tool that others use at the same time cannot be asked again under the same noise. What would you
# record of a session, so that a replay tells an agent's skill from its tool's luck?
#
# ## Carry on
#
# The team, from independent subtasks to pure coupling, with four methods and their cost:
#
# ```sh
# casim ablate --task Team --over coupling=0,0.5,1 \
#   --estimators RLOO COMA C3_AGENTS DIFFERENCE_REWARDS
# ```
