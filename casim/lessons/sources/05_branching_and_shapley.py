# %% [markdown]
# # Branching and Shapley: what a counterfactual costs
#
# Credit asks what would have happened otherwise. A simulator can be asked: go back, do the other
# thing, play on. Each such *counterfactual* costs steps, and what it says is noisy. This lesson
# counts both, finds two ways to get more for the same price, and shares out what several did
# together.

# %%
import itertools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import casim
from casim.figures import style
from casim.lessons import check
from casim.lessons.branching import coalitions, plans

# %% [markdown]
# ## 1. What a branch says
#
# The chain of lesson 1 again: 12 steps, one pivot at step 4, success with probability 0.8 on the
# right track and 0.2 off it, a coin flip at every step.

# %%
GOOD, RIGHT, WRONG, PIVOT, LATE = 0, 0, 1, 4, 7  # a state, two actions, two steps
task = casim.Bifurcation(horizon=12, pivots=(PIVOT,), gap=0.6, base=0.5, num_segments=12)
mdp = task.build()
world = casim.World.make(mdp, casim.Uniform().table(mdp))

# %% [markdown]
# `Vine` estimates the value of a state by the mean outcome of $K$ *branches*: fresh rollouts from
# that state to the end. The credit of a step is the change of the estimate,
#
# $$c_t = \hat V(s_{t+1}) - \hat V(s_t), \qquad \hat V(s) = \frac1K \sum_{k=1}^K R^{(k)}.$$
#
# Its mean is the advantage. But an outcome is 0 or 1, and one of probability $p$ has the variance
# $p\,(1 - p)$.
#
# **Question 5.1.** What variance does the luck of $K = 4$ branches leave in $c_t$, on the right
# track?

# %% tags=["answer"]
variance_late = 2 * 0.8 * 0.2 / 4  # at step 7, where nothing is decided
variance_pivot = (0.8 * 0.2 + 0.5 * 0.5) / 4  # at the pivot, after action 0

# %%
check("5.1", variance_late, variance_pivot)

# %% [markdown] tags=["solution"]
# Both ends are estimated, each by branches of its own, and variances of independent estimates add
# up: $\frac{V'(1 - V')}{K} + \frac{V(1 - V)}{K}$. At step 7 both values are 0.8, which makes $2
# \cdot 0.16 / 4 = 0.08$. At the pivot it is 0.5 before and 0.8 after: $(0.25 + 0.16) / 4 = 0.1025$.
# The deviation is 0.32, about as large as the advantage of 0.3 that is looked for, and a step that
# decides nothing is nearly as noisy.

# %% [markdown]
# ## 2. The same luck for both
#
# Compare two *actions* instead: branch with action 0, branch with action 1, and take the difference
# of the two outcomes. Branches may draw fresh noise each, or share it: the same random numbers for
# the same step, so that two branches in the same state that do the same end the same. These are
# **common random numbers**. Here an outcome is $1$ if a number $u$, uniform on $[0, 1]$, is below
# the probability of success.
#
# **Question 5.2.** What is the variance of *one* such difference? On the right track, and to three
# digits.

# %% tags=["answer"]
pivot_own = 0.8 * 0.2 + 0.2 * 0.8  # at the pivot, noise of its own for each branch
pivot_common = 0.6 * 0.4  # at the pivot, common noise
late_common = 0.0  # at step 7, common noise

# %%
check("5.2", pivot_own, pivot_common, late_common)

# %% [markdown] tags=["solution"]
# With noise of their own the variances of the two outcomes add up, $0.16 + 0.16 = 0.32$. With a
# common $u$ the outcomes differ where $0.2 < u < 0.8$, and there by 1: a coin of probability 0.6,
# whose variance is $0.6 \cdot 0.4 = 0.24$. That saves a quarter. At step 7 both actions lead to the
# same state, and the same noise to the same outcome: the difference is 0, always. With noise of
# their own it would be 0.32 here as well.

# %% [markdown]
# `World.branch` shares noise between calls with the same key. Four thousand differences each:


# %% tags=["hide-input"]
@jax.jit
def differences(key, other, step):
    """Outcomes of branches with action 0 less those with action 1."""
    some = world.rollout(jax.random.key(0), 32)
    on_track = jnp.argmax(some.state[:, LATE] == GOOD)
    one = jax.tree.map(lambda x: x[on_track][None], some)
    outcomes = []
    for own, action in ((key, RIGHT), (other, WRONG)):
        played = world.branch(own, one, step, 4000, action=action)
        outcomes.append(played.reward.sum(axis=-1))
    return outcomes[0] - outcomes[1]


first, second = jax.random.split(jax.random.key(1))
for step in (PIVOT, LATE):
    for noise, other in (("own", second), ("common", first)):
        difference = differences(first, other, step)
        print(f"step {step}, {noise:<6} noise: variance {float(difference.var()):.3f}")

# %% [markdown]
# Common noise makes *nothing happened here* exact, and that is most of a long answer. It asks much
# of an environment: a seed for every step, and a state that can be restored. A tool that others use
# at the same time gives neither.
#
# ## 3. What several did together
#
# Now take whole sets of actions away. Three agents act at once, each is right with probability 1/2,
# and this time all three were. The worth $v(S)$ of a **coalition** $S$ is the chance of success if
# those in $S$ act as they did, and the others draw again. *Leaving one out* pays an agent
# $v(\text{all}) - v(\text{all but it})$, two counterfactuals. The **Shapley value** pays the mean
# of what it adds when the agents arrive one by one, over all orders,
#
# $$\varphi_i = \frac{1}{n!} \sum_{\text{orders}} \big[ v(\text{those before } i, \text{and } i) -
# v(\text{those before } i) \big],$$
#
# which takes all $2^n$ coalitions. In each order these gains add up to $v(\text{all}) -
# v(\text{none})$, so their means do, too: Shapley values are **efficient**.
#
# **Question 5.3.** Write the Shapley value. Then predict, for the three agents above: what do the
# three get *together*, where all of them are needed for success (AND), and where any one is enough
# (OR)?

# %% tags=["answer"]


def shapley(worth):
    """Shapley values of players 0, 1 and 2, from the worth of each coalition."""
    # worth[frozenset({0, 2})] is v of players 0 and 2, worth[frozenset()] that of none;
    # itertools.permutations(range(3)) has the orders. Return three numbers.
    value = np.zeros(3)
    for order in itertools.permutations(range(3)):
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            value[player] += (worth[before | {player}] - worth[before]) / 6
    return value


shapley_all = 1 - 0.5**3  # Shapley, all are needed
left_out_all = 3 * (1 - 0.5)  # leaving one out, all are needed
left_out_any = 0.0  # leaving one out, any is enough

# %%
check("5.3", shapley, shapley_all, left_out_all, left_out_any)

# %% [markdown] tags=["solution"]
# All are needed: $v(\text{all}) - v(\text{none}) = 1 - \frac18 = 0.875$, which Shapley values share
# out. Without one agent the others still succeed if its new draw is right: each loses $1 - \frac12$
# by leaving, 1.5 together. That is more than there is, as each is paid for what it did *with* the
# others. Any is enough: nobody is missed, so leaving one out pays nobody, although the team did
# better than chance by $1 - \frac78$.

# %% [markdown]
# Which one is right? They answer two questions. To *share out* a result, Shapley values. To
# *train*, each agent needs what its own action changes while the others play as they do: the
# advantage, which is the mean of leaving it out over what the others might have done (lesson 8).
# Neither is cheap. Twelve agents are 12 counterfactuals by leaving one out, and $2^{12} = 4096$ by
# Shapley; so orders are sampled, or the worth of a coalition is asked of a model.
#
# ## 4. Where to branch
#
# Back to the chain, and to the open question of lesson 1: where to spend branches? Four plans, all
# with a group of 8 trajectories, all right on average:
#
# - *RLOO*: no branches, the outcome less that of the others, at every step;
# - *RLOO at the pivot*: the same credit there, and 0 elsewhere;
# - *branches everywhere*: `Vine` with 4 branches at every step;
# - *branches at the pivot*: the same before and after the pivot alone, and 0 elsewhere.
#
# **Question 5.4.** Which of them has the largest signal-to-noise ratio *for a step of the
# environment that it plays*? Copy its name.

# %% tags=["answer"]
best = "RLOO at the pivot"

# %%
check("5.4", best)

# %% [markdown] tags=["solution"]
# What buys most is to *know where*. Credit at the pivot alone leaves out the noise of eleven steps,
# and costs nothing. Branches at the pivot are sharper still, twice the ratio, but they play six
# times the steps. Branches everywhere are the worst of all: they pay 26 times the batch, mostly to
# measure that nothing happened.

# %%
for name, (snr, steps) in plans().items():
    print(f"{name:<22} SNR {snr:5.2f}  steps {steps:5.0f}  SNR per 1000 {1000 * snr / steps:6.2f}")

# %% [markdown]
# The figure of this lesson. Left: what three agents get together, by Shapley and by leaving one
# out; the lines are what there is to share. Right: what a plan buys for its steps, by the number
# of branches $K$. Bars and lines are exact; marks are sampled from 1,000 groups, with intervals of
# 95%.


# %% tags=["hide-input"]
def gradients(method, num=1000):
    """The gradient of each group, by step, in the logit of action 0 (that of action 1 is minus)."""

    def one_group(key):
        data = world.groups(jax.random.fold_in(key, 0), 1, 8)
        credit = method.credit(jax.random.fold_in(key, 1), world, data).value[0]
        push = jnp.where(data.action[0] == RIGHT, 0.5, -0.5)
        return jnp.mean(credit * push, axis=0)

    keys = jax.random.split(jax.random.key(2), num)
    return np.asarray(jax.jit(jax.vmap(one_group))(keys), float)


def sampled_snr(gradient):
    """The SNR, and half the width of its interval."""
    exact = np.zeros(task.horizon)
    exact[PIVOT] = 0.5 * 0.3
    error = np.sum((gradient - exact) ** 2, axis=1)
    snr = np.sum(exact**2) / error.mean()
    return snr, 1.96 * snr * error.std() / error.mean() / len(error) ** 0.5


there = np.arange(task.horizon) == PIVOT
rloo = gradients(casim.methods.RLOO)
vine = gradients(casim.Vine(unit="step", num_branches=4))
marks = {
    "RLOO at the pivot": rloo * there,
    "branches at the pivot": vine * there,
    "RLOO": rloo,
    "branches everywhere": vine,
}
branches = 2 ** np.arange(7)
looks = dict(zip(marks, ("#D55E00", "#009E73", "#E69F00", "#0072B2"), strict=True))


def draw_shares(axis):
    """What three agents get together, where all of them were right."""
    for place, joint in enumerate(("any", "all")):
        worth = coalitions(joint)
        total = worth[7] - worth[0]
        removed = sum(worth[7] - worth[without] for without in (3, 5, 6))
        labels = ("Shapley", "left out") if joint == "all" else (None, None)
        axis.bar(place - 0.2, total, 0.36, color="#CC79A7", label=labels[0])
        axis.bar(place + 0.2, removed, 0.36, color="#777777", label=labels[1])
        axis.plot([place - 0.45, place + 0.45], [total, total], "k--", linewidth=0.9)
    axis.set_xticks([0, 1], ["any is enough", "all are needed"])
    axis.set_ylabel("the three agents' credit, added up")
    axis.legend(loc="upper left")


def draw_plan(axis, name, color):
    """What a plan buys for a thousand steps, exact and sampled."""
    bought = []
    for number in branches:
        snr, steps = plans(int(number))[name]
        bought.append(1000 * snr / steps)
    axis.plot(branches, bought, color=color, label=name)
    _, steps = plans()[name]
    snr, half = sampled_snr(marks[name])
    mark = {"fmt": "o", "color": color, "capsize": 2}
    axis.errorbar(4, 1000 * snr / steps, 1000 * half / steps, **mark)


with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    draw_shares(left)
    for name, color in looks.items():
        draw_plan(right, name, color)
    right.set(xscale="log", yscale="log", ylim=(0.05, 300))
    right.set_xticks(branches, branches)
    right.minorticks_off()
    right.set(xlabel="branches at a state, $K$", ylabel="SNR for 1,000 steps")
    right.legend(loc="upper center", ncols=2, columnspacing=1, handlelength=1)
plt.show()

# %% [markdown]
# - **Knowing where is worth more than counterfactuals.** With one pivot in 12 steps it is a factor
#   of 16 for RLOO and of 56 for branches; in longer chains it is more.
# - At the pivot more branches neither gain nor lose much. Their noise shrinks as $1 / K$, so that
#   the SNR grows as $K$, and so does their price. Everywhere, more branches lose: the last step
#   gets the luck of the outcome itself, which no number of branches takes away.
# - In this chain the outcome stays open until the last step. Where the first steps settle it,
#   branches from later states agree with each other, say much for their price, and the order turns
#   around.
#
# ## An open question
#
# In reality the pivot is unknown. How many steps would you spend to find it before you spend them
# on credit? And if training moves the pivot, how often would you look again?
#
# ## Carry on
#
# The same trade, measured with intervals: branches against groups, as $K$ grows.
#
# ```sh
# casim ablate --task "Bifurcation(horizon=16)" --over num_branches=1..16 --estimators RLOO Vine
# ```
