# %% [markdown]
# # What is credit?
#
# A language model writes a long answer, and at the end one bit says whether it was right. Which of
# its tokens earned that bit? This lesson takes the smallest world in which the question has an
# exact answer, and lets you predict, run and compare.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import casim
from casim.figures import style
from casim.lessons import check
from casim.scores import leakage, matters_mask

# %% [markdown]
# ## 1. A chain with one decision that matters
#
# `Bifurcation` is a chain of tokens. At one step, the *pivot*, action 0 keeps the answer on the
# right track and action 1 loses it. All other steps are filler: nothing depends on what is chosen
# there. At the end the answer is verified: it succeeds with probability 0.8 on the right track and
# with probability 0.2 off it. The policy flips a coin at every step.

# %%
GOOD, RIGHT, WRONG, PIVOT = 0, 0, 1, 4  # a state, two actions, a step
task = casim.Bifurcation(horizon=12, pivots=(PIVOT,), gap=0.6, base=0.5, num_segments=12)
mdp = task.build()
policy = casim.Uniform().table(mdp)
truth = casim.solve(mdp, policy)

# %% [markdown]
# The **value** $V_t(s)$ is the probability of success from state $s$ at step $t$ on. $Q_t(s, a)$ is
# the same after action $a$. The **advantage** is how much better things are after an action than
# before it,
#
# $$A_t(s, a) = Q_t(s, a) - V_t(s), \qquad V_t(s) = \sum_a \pi(a \mid s)\, Q_t(s, a).$$
#
# **Question 1.1.** Work these out in your head, from the text above.

# %% tags=["answer"]
value_before = 0.5  # V before the pivot
advantage_right = 0.3  # A of action 0 at the pivot
advantage_wrong = -0.3  # A of action 1 at the pivot
advantage_late = 0.0  # A of action 0 at step 7, on the right track

# %%
check("1.1", value_before, advantage_right, advantage_wrong, advantage_late)

# %% [markdown] tags=["solution"]
# The policy flips a coin at the pivot, so before it $V = \frac12 \cdot 0.8 + \frac12 \cdot 0.2 =
# 0.5$. After action 0 the answer succeeds with $Q = 0.8$, which is 0.3 more than before; after
# action 1 with $Q = 0.2$, which is 0.3 less. At step 7 nothing depends on the action: both lead to
# what was there before, so $A = 0$, although much reward is still to come ($V = 0.8$ on the right
# track).

# %% [markdown]
# **Question 1.2.** Now for all steps, states and actions at once: one line of NumPy.

# %%
value = np.asarray(truth.value[:-1])  # [12, 2]: steps, states
q_value = np.asarray(truth.q_value)  # [12, 2, 2]: steps, states, actions

# %% tags=["answer"]
my_advantage = q_value - value[:, :, None]  # from q_value and value

# %%
check("1.2", my_advantage)

# %% [markdown] tags=["solution"]
# $V_t(s)$ belongs to the state alone, so it is subtracted from both actions; `[:, :, None]` makes
# room for them.

# %% [markdown]
# These numbers come from dynamic programming over the chain, and not from samples. They are what
# every method below tries to find from a handful of episodes.
#
# ## 2. Eight episodes, three ways to give credit
#
# An estimator sees a **group**: here 8 trajectories of one prompt, with outcomes $R_1, \dots, R_8$.
#
# - REINFORCE gives every step the outcome of its episode, $c_{it} = R_i$.
# - RLOO (leave one out) subtracts the mean of the others, $c_{it} = R_i - \frac17 \sum_{j \ne i}
#   R_j$.
# - `Vine` (VinePPO) goes back to every step of every trajectory, starts 4 *branches* there which
#   play to the end, and measures how the rate of success changed from one step to the next.
#
# **Question 1.3.** How many steps of the environment does `Vine` play beyond the batch? From step
# $t = 0, \dots, 11$ of a trajectory a branch has $12 - t$ steps to go.

# %% tags=["answer"]
vine_steps = 8 * 4 * sum(range(1, 13))

# %%
check("1.3", vine_steps)

# %% [markdown] tags=["solution"]
# A branch from step $t$ runs to the end, $12 - t$ steps. From each of the 12 steps of each of the 8
# trajectories start 4 branches: $8 \cdot 4 \cdot (12 + 11 + \dots + 1) = 2496$ steps, 26 times the
# batch itself. The price grows with the square of the length.

# %% [markdown]
# Here is what the three make of the same eight episodes, beside the exact advantage of what was
# done.

# %% tags=["hide-input"]
world = casim.World.make(mdp, policy)
batch = world.groups(jax.random.key(0), 1, 8)
methods = {
    "REINFORCE": casim.methods.REINFORCE,
    "RLOO": casim.methods.RLOO,
    "Vine, 4 branches": casim.Vine(unit="step", num_branches=4),
}
steps = np.arange(task.horizon)
panels = {}
for name, method in methods.items():
    panels[name] = method.credit(jax.random.key(1), world, batch).value[0]
panels["exact advantage"] = truth.advantage[steps, batch.state[0], batch.action[0]]

with style():
    figure, axes = plt.subplots(1, 4, figsize=(7, 2.2), sharey=True, layout="constrained")
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(panel, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
        axis.set(title=name, xlabel="step", xticks=[0, 4, 8])
        axis.grid(False)
    axes[0].set_ylabel("trajectory")
    figure.colorbar(image, ax=axes, label="credit")
plt.show()

# %% [markdown]
# **Question 1.4.** REINFORCE spreads its credit evenly over an answer. **Leakage** is the share of
# the credit that lands on steps that do not matter. What is it for REINFORCE, with one pivot in 12
# steps? And in a chain of 30,000 tokens?

# %% tags=["answer"]
leakage_12 = 11 / 12
leakage_30000 = 29_999 / 30_000  # as a fraction

# %%
check("1.4", leakage_12, leakage_30000)

# %% [markdown] tags=["solution"]
# Every step gets the same, so each has the share $1 / T$, and all but the pivot's share is lost:
# $1 - 1 / T$. How much leaks depends on the length of the answer alone.

# %%
matters = matters_mask(mdp, truth)[steps, batch.state[0]]
for name, panel in panels.items():
    shares = [float(leakage(*row)) for row in zip(panel, matters, batch.live[0], strict=True)]
    # An episode without any credit, as one that REINFORCE saw fail, has none to leak.
    print(f"{name:<18} leakage {np.nanmean(shares):.3f}")

# %% [markdown]
# ## 3. Is broadcast credit *wrong*?
#
# One group is noise. Average over many groups, and the noise goes; what remains is what the method
# *means*.
#
# **Question 1.5.** What credit does RLOO give on average, where the answer is on the right track?

# %% tags=["answer"]
late_credit = 0.3  # to action 0 at step 7
late_difference = 0.0  # to action 0 less to action 1, at step 7
pivot_difference = 0.6  # to action 0 less to action 1, at the pivot

# %%
check("1.5", late_credit, late_difference, pivot_difference)

# %% [markdown] tags=["solution"]
# RLOO subtracts the mean outcome of others, on average $V_0 = 0.5$. On the right track, at step 7,
# either action ends with success 0.8, so either is credited with $0.8 - 0.5 = 0.3$: praise for
# being on the right track, and no difference between the actions. At the pivot the outcomes are 0.8
# and 0.2, the credits 0.3 and -0.3.

# %% [markdown]
# A policy gradient sees *differences between actions* in a state and nothing else, since
# $\sum_a \pi(a \mid s)\, \nabla \log \pi(a \mid s) = 0$: what is given to all actions alike drops
# out. The difference is right at every step, so broadcast credit is not biased for learning. Then
# what is the matter with it?
#
# ## 4. Noise, and its price
#
# The **signal-to-noise ratio** (SNR) of the policy gradient from one group, its squared mean over
# its variance, says how many groups must be averaged before its direction can be trusted.
#
# **Question 1.6.** The same pivot in a chain of 48 steps instead of 12. How many times smaller is
# the SNR of RLOO, to the nearest whole number?

# %% tags=["answer"]
snr_factor = 4

# %%
check("1.6", snr_factor)

# %% [markdown] tags=["solution"]
# The signal is the gradient at the pivot, which is the same at any length. The noise is the
# variance of the credit, about the same at every step, and it is collected from all of them: four
# times the steps, four times the noise, a quarter of the ratio. (Exactly 4.07: at the pivot a part
# of the squared credit is the signal itself, and not noise.)

# %% [markdown]
# The figure of this lesson: what each method gives on average (marks), and how far a single episode
# is from it (bars, one standard deviation), on the right track, from 3,000 groups. Dashed lines are
# the exact advantage.


# %% tags=["hide-input"]
def credit_by_action(method, num=3000):
    """Mean and deviation of the credit of each action at each step, on the right track."""

    def group(key):
        data = world.groups(jax.random.fold_in(key, 0), 1, 8)
        value = method.credit(jax.random.fold_in(key, 1), world, data).value
        return data.state, data.action, value

    out = jax.jit(jax.vmap(group))(jax.random.split(jax.random.key(2), num))
    state, action, value = (np.asarray(x).reshape(-1, task.horizon) for x in out)
    moments = {}
    for a in (RIGHT, WRONG):
        met = (state == GOOD) & (action == a)
        of_step = [value[met[:, t], t] for t in steps]
        moments[a] = [x.mean() for x in of_step], [x.std() for x in of_step]
    return moments


with style():
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.4), sharey=True, layout="constrained")
    looks = ((RIGHT, "#0072B2", "o", -0.15), (WRONG, "#D55E00", "s", 0.15))
    for axis, (name, method) in zip(axes, methods.items(), strict=True):
        sampled = credit_by_action(method)
        for a, color, mark, shift in looks:
            mean, deviation = sampled[a]
            bars = {"fmt": mark, "color": color, "elinewidth": 0.6, "label": f"action {a}"}
            axis.errorbar(steps + shift, mean, deviation, **bars)
            exact = truth.advantage[:, GOOD, a]
            axis.plot(steps, exact, "--", color=color, linewidth=0.8, drawstyle="steps-mid")
        axis.set(title=name, xlabel="step", xticks=[0, 4, 8])
    axes[0].set_ylabel("credit: mean and deviation")
    axes[0].legend(loc="lower right")
plt.show()

# %% [markdown]
# - **Every method separates the two actions at the pivot by the same amount, and nowhere else.**
# - REINFORCE and RLOO carry an offset that depends on the state alone. RLOO praises *both* actions
#   after the pivot for being on the right track. Harmless on average, this is noise in every single
#   episode: the bars are as long at each of the eleven steps that decide nothing as at the one that
#   does.
# - Only the marks of `Vine` lie on the lines, its bars are shorter, and it has paid for them: 26
#   times the batch.
#
# ## An open question
#
# `Vine` spends its branches evenly, although one step of 12 matters. If you could afford 96
# branches, and did not know where the pivot is, where would you start them, and how would you
# decide where to start the next? (Lesson 5 returns to it.)
#
# ## Carry on
#
# The same question for a chain of any length, measured, with intervals:
#
# ```sh
# casim ablate --task Bifurcation --over horizon=12,48,192 --estimators REINFORCE RLOO Vine
# ```
