# %% [markdown]
# # Groups: RLOO, GRPO and what normalising does
#
# Many recipes for training language models sample a group of answers to each prompt and compare
# them with each other. They differ by a line: whether one's own outcome is in the mean, and whether
# the difference is divided by the deviation. What does each line do, exactly? Some of it is a
# constant, some of it changes *what is optimised*, and little of it changes the noise.

# %%
import matplotlib.pyplot as plt
import numpy as np

import casim
from casim.figures import style
from casim.lessons import check
from casim.oracle.moments import exact_scores, group_moments

# %% [markdown]
# Length was the subject of lesson 2, so here an answer is one token. It is right with probability
# $p + 0.05$ after action 0 and $p - 0.05$ after action 1, and the policy flips a coin: the prompt
# is solved with probability $p$, which says how hard it is.


# %%
def prompt(p):
    """A prompt that is solved with this probability."""
    return casim.Bifurcation(horizon=1, pivots=(0,), gap=0.1, base=p, num_segments=1)


# %% [markdown]
# ## 1. Who is in the mean?
#
# **Question 3.1.** RLOO subtracts from each return the mean of the *others'* returns. Write it for
# an array of $N$ returns, without a loop.


# %% tags=["answer"]
def rloo(returns):
    """The credit of each episode, an array as long as `returns`."""
    num = len(returns)
    mean_of_others = (returns.sum() - returns) / (num - 1)
    return returns - mean_of_others


# %%
check("3.1", rloo)

# %% [markdown] tags=["solution"]
# The sum of the others is the sum of all less one's own.

# %% [markdown]
# Dr. GRPO subtracts the mean of all, $R_i - \bar R$, with one's own return in it. So a part of each
# return is subtracted from itself. With RLOO the mean gradient is the exact one. The **slope** of a
# method is how many times its mean gradient is as long as the exact one: 1 for RLOO.
#
# **Question 3.2.** What is the slope of Dr. GRPO in groups of 8? In groups of 2?

# %% tags=["answer"]
slope_of_8 = 7 / 8
slope_of_2 = 1 / 2

# %%
check("3.2", slope_of_8, slope_of_2)

# %% [markdown] tags=["solution"]
# $R_i - \bar R = R_i - \frac1N R_i - \frac{N-1}{N} \cdot (\text{mean of the others}) = \frac{N -
# 1}{N} \cdot (\text{RLOO})$: the same credit, shorter by a constant. A learning rate that is longer
# by $N / (N - 1)$ makes them the same method.

# %% [markdown]
# ## 2. Dividing by the deviation
#
# **Question 3.3.** GRPO divides $R_i - \bar R$ by the standard deviation of the group, with $N - 1$
# in the variance (`ddof=1`). Write it. (In code there is a 1e-6 beside the deviation for the case
# that it is 0, which may be left out here.)


# %% tags=["answer"]
def grpo(returns):
    """The credit of each episode, an array as long as `returns`."""
    return (returns - returns.mean()) / returns.std(ddof=1)


# %%
check("3.3", grpo)

# %% [markdown] tags=["solution"]
# Credit in units of the group's deviation: whatever the prompt, its squares add up to $N - 1$.

# %% [markdown]
# Where all outcomes of a group are equal, every one of these methods gives 0: a **silent group**,
# which was paid for and teaches nothing.
#
# **Question 3.4.** How often is a group of 8 silent, at $p = 0.9$ and at $p = 0.5$?

# %% tags=["answer"]
silent_easy = 0.9**8 + 0.1**8  # p = 0.9
silent_even = 0.5**8 + 0.5**8  # p = 0.5

# %%
check("3.4", silent_easy, silent_even)

# %% [markdown] tags=["solution"]
# All right or all wrong: $p^8 + (1 - p)^8$, 43% at $p = 0.9$ and 0.8% at $p = 0.5$. The better the
# policy, the more of its episodes are spent on silent groups; DAPO samples on until none is silent.

# %% [markdown]
# ## 3. What normalising does to prompts
#
# With large groups the deviation is that of the prompt, $\sqrt{p (1 - p)}$, a constant for it. So
# GRPO's mean gradient of a prompt is the exact one, times $1 / \sqrt{p (1 - p)}$.
#
# **Question 3.5.** How many times the weight of a prompt with $p = 0.5$ does GRPO give to one with
# $p = 0.1$, in large groups?

# %% tags=["answer"]
weight_of_hard = np.sqrt(0.5 * 0.5) / np.sqrt(0.1 * 0.9)

# %%
check("3.5", weight_of_hard)

# %% [markdown] tags=["solution"]
# $0.5 / 0.3 = 1.67$. The same holds for $p = 0.9$: what is nearly always wrong and what is nearly
# always right both weigh more than what is in between.

# %% [markdown]
# **Question 3.6.** And in groups of *two*? (List the four groups of two outcomes, and what the
# deviation is in each.)

# %% tags=["answer"]
weight_in_pairs = 1.0

# %%
check("3.6", weight_in_pairs)

# %% [markdown] tags=["solution"]
# Two outcomes are equal, and the group is silent, or they differ, and the deviation is
# $1/\sqrt{2}$, whatever the prompt. So nothing is reweighted: GRPO in pairs is RLOO times $1 /
# \sqrt2$. What the weight depends on is what a *group* can tell of its prompt, and a pair tells
# nothing.

# %% [markdown]
# A step along a gradient that is weighted by $w(p)$ climbs another objective than the mean success:
# one whose derivative in $p$ is proportional to $w(p)$.
#
# **Question 3.7.** Which one does GRPO climb, in large groups: "p", "arcsin(sqrt(p))", "log(p)" or
# "log(p / (1 - p))"?

# %% tags=["answer"]
climbed = "arcsin(sqrt(p))"

# %%
check("3.7", climbed)

# %% [markdown] tags=["solution"]
# $\frac{d}{dp} \arcsin \sqrt p = \frac{1}{2 \sqrt{p (1 - p)}}$. It is steep at both ends: GRPO pays
# more for the step from 0.98 to 0.99 than for the step from 0.50 to 0.51. For a single prompt that
# is no difference, since all of these grow with $p$. Where prompts compete for the same weights,
# it is.

# %% [markdown]
# ## 4. And the noise?
#
# **Question 3.8.** For one prompt with $p = 0.5$ and groups of 8, what does dividing by the
# deviation do to the signal-to-noise ratio (after the best learning rate for each method): "halves
# it", "leaves it within 5%" or "doubles it"?

# %% tags=["answer"]
effect_on_noise = "leaves it within 5%"

# %%
check("3.8", effect_on_noise)

# %% [markdown] tags=["solution"]
# The credit is longer by nearly the same number in every group, signal and noise alike: 0.0700
# instead of 0.0705. "GRPO reduces the variance by normalising" is not what it does: it sets a
# learning rate for each prompt.

# %% [markdown]
# **Question 3.9.** You can pay for 8 episodes of a prompt. One group of 8, or four groups of 2? By
# which factor is the ratio of RLOO better with one group of 8?

# %% tags=["answer"]
large_over_many = (1 + 1 / 1) / (1 + 1 / 7)

# %%
check("3.9", large_over_many)

# %% [markdown] tags=["solution"]
# The mean of $N - 1$ others is a baseline with a variance of its own: the credit has variance
# $p (1 - p)\, (1 + \frac{1}{N - 1})$, twice $p (1 - p)$ in pairs and $\frac87$ of it in groups
# of 8. So the ratio is $2 / \frac87 = 1.75$ (1.76 exactly). From 8 to 16 the gain is 1.07: beyond 8
# or so the baseline is as good as it gets, and other prompts are worth more than larger groups.

# %% [markdown]
# The figure of this lesson. On the left, the slope of GRPO's mean gradient against the difficulty
# of the prompt, exactly (lines) and from 40,000 groups that a few lines of NumPy play (points, 95%
# intervals). On the right, what 16 episodes are worth when they are split into groups.


# %% tags=["hide-input"]
def scores(method, p, num):
    """The exact scores of a method on groups of a prompt."""
    mdp = prompt(p).build()
    policy = casim.Uniform().table(mdp)
    return exact_scores(mdp, policy, group_moments(mdp, policy, method, num))


def played(p, num, groups=40_000):
    """GRPO's slope and half of its 95% interval, without casim."""
    rng = np.random.default_rng(0)
    sign = rng.choice([1.0, -1.0], size=(groups, num))  # action 0 or 1
    returns = (rng.random((groups, num)) < p + 0.05 * sign).astype(float)
    centred = returns - returns.mean(axis=1, keepdims=True)
    credit = centred / (returns.std(axis=1, ddof=1, keepdims=True) + 1e-6)
    slope = (credit * sign).mean(axis=1) / 0.05  # A is 0.05 times the sign
    return slope.mean(), 1.96 * slope.std() / np.sqrt(groups)


chances = np.array([0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.94])
sizes = [2, 4, 8, 16]
fine = np.linspace(0.06, 0.94, 200)
methods = casim.methods
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    left.plot(fine, 1 / np.sqrt(fine * (1 - fine)), "k:", label="N large")
    for num, color in zip(sizes[::-1], ("#332288", "#0072B2", "#56B4E9", "#E69F00"), strict=True):
        slopes = [scores(methods.GRPO, p, num)["gradient_slope"] for p in chances]
        left.plot(chances, slopes, color=color, label=f"GRPO, N = {num}")
        for p in (0.1, 0.5, 0.9):
            mean, half = played(p, num)
            left.errorbar(p, mean, half, fmt="o", color=color, capsize=2)
    left.axhline(1, color="#777777", linestyle="--", label="RLOO")
    left.set(xlabel="success probability p of the prompt", ylabel="slope of the mean gradient")
    left.set(ylim=(0, 4.3))
    left.legend(ncol=2, loc="upper center")
    for p, color in ((0.1, "#D55E00"), (0.5, "#009E73")):
        for name, method, line in (("RLOO", methods.RLOO, "o-"), ("GRPO", methods.GRPO, "s--")):
            worth = [scores(method, p, num)["snr_aligned"] * 16 / num for num in sizes]
            right.plot(sizes, worth, line, color=color, label=f"{name}, p = {p}")
    right.set(xscale="log", xlabel="group size N", ylabel="SNR of 16 episodes", ylim=(0, None))
    right.set_xticks(sizes, sizes)
    right.minorticks_off()
    right.legend()
plt.show()

# %% [markdown]
# - Left: normalising is a learning rate per prompt. It rises towards both ends, it depends on the
#   size of the group, and it stays below $\sqrt{N} \cdot \frac{N - 1}{N}$, which it reaches where
#   all groups that are not silent have a single outcome that differs.
# - Right: RLOO and GRPO are hardly told apart. Groups of two waste over 40% of their episodes;
#   beyond 8 little is left to gain.
#
# ## An open question
#
# A curriculum that drops prompts which are solved "always" or "never" also reweights prompts, and
# DAPO's sampling, which goes on until a group is not silent, does so again. What do they climb
# together with GRPO, and does the factor $1 / \sqrt{p (1 - p)}$ cancel?
#
# ## Carry on
#
# The same on a chain, where you can set the length too; `casim show GRPO` has the formula of each
# recipe, and `casim list methods` some two hundred others.
#
# ```sh
# casim ablate --task Bifurcation --over base=0.35,0.5,0.65 --estimators RLOO DR_GRPO GRPO \
#     --score snr_aligned gradient_slope
# ```
