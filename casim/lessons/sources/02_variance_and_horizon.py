# %% [markdown]
# # Variance and horizon: why long is hard
#
# Lesson 1 ended with a number: four times the tokens, a quarter of the signal-to-noise ratio. Here
# you derive that law by hand, from a coin, a softmax and the variance of a sum, and hold it against
# the exact one up to 4,096 tokens. Then you find out what a better baseline can do about it.

# %%
import matplotlib.pyplot as plt
import numpy as np

import casim
from casim.figures import style
from casim.lessons import check
from casim.oracle.moments import (
    exact_scores,
    gae,
    peer_baseline,
    recursion_moments,
    value_baseline,
)

# %% [markdown]
# ## 1. The noise of one step
#
# The world is that of lesson 1: one pivot (step 4), where a coin flip decides between success
# with probability 0.8 and with probability 0.2, and filler everywhere else. Groups have $N = 8$
# episodes with outcomes $R_i \in \{0, 1\}$, and RLOO gives every step of episode $i$ the credit
#
# $$c_i = R_i - \frac{1}{N - 1} \sum_{j \ne i} R_j.$$
#
# **Question 2.1.** At the first step nothing is decided yet, so $R_i = 1$ with probability one
# half, in all episodes independently. What is the variance of $c_i$ there?

# %% tags=["answer"]
variance_of_credit = 0.25 * (1 + 1 / 7)

# %%
check("2.1", variance_of_credit)

# %% [markdown] tags=["solution"]
# An outcome has variance $\frac12 \cdot \frac12 = 0.25$, and a mean of seven independent ones a
# seventh of that. They are independent, so the variances add: $0.25 \cdot (1 + \frac17) = 0.2857$.

# %% [markdown]
# ## 2. The signal
#
# The policy is a softmax with a logit $\theta_a$ for each of the two actions at a step. For it
#
# $$\frac{\partial \log \pi(b)}{\partial \theta_a} = 1[a = b] - \pi(a), \qquad
# \frac{\partial J}{\partial \theta_a} = \mathrm{E}\big[A(b)\, (1[a = b] - \pi(a))\big] = \pi(a)\,
# A(a),$$
#
# where the last step uses that $\sum_b \pi(b) A(b) = 0$. At filler steps $A = 0$, so all of the
# exact gradient $g^*$ is in the two logits of the pivot. Every episode passes through it on the
# right track.
#
# **Question 2.2.** The advantages at the pivot are 0.3 and -0.3. What is the gradient in the logit
# of action 0, and what is $|g^*|^2$, over both logits?

# %% tags=["answer"]
gradient_right = 0.5 * 0.3  # in the logit of action 0
squared_length = 2 * (0.5 * 0.3) ** 2

# %%
check("2.2", gradient_right, squared_length)

# %% [markdown] tags=["solution"]
# $\pi A = \frac12 \cdot 0.3 = 0.15$, and $-0.15$ in the other logit: $|g^*|^2 = 2 \cdot 0.15^2 =
# 0.045$. It does not depend on the length of the chain.

# %% [markdown]
# ## 3. The noise of all steps
#
# The estimate of the gradient from a group is $g = \frac1N \sum_i \sum_t c_i z_{it}$, with $z_{it}$
# the gradient of $\log \pi(a_{it})$ in the two logits: $(\frac12, -\frac12)$ after action 0,
# $(-\frac12, \frac12)$ after action 1. So $|z|^2 = \frac12$ always, and its sign is a coin flip of
# its own: at a filler step it has nothing to do with $c_i$.
#
# **Question 2.3.** How much variance does the first step add to $g$, over both logits?

# %% tags=["answer"]
noise_of_step = 0.25 * (1 + 1 / 7) * 0.5 / 8

# %%
check("2.3", noise_of_step)

# %% [markdown] tags=["solution"]
# $\mathrm{E}[c^2]\, |z|^2 / N = 0.2857 \cdot 0.5 / 8 = 0.0179$. There is no signal in it: $\mathrm
# E[c z] = 0$. (Members of a group share outcomes through the baseline, so $c_1 z_1$ and $c_2 z_2$
# are not independent; but the signs of $z_1$ and $z_2$ are, and their products average to 0.)

# %% [markdown]
# Signs at different steps are independent, so the noises of steps add up. The **signal-to-noise
# ratio** is $|g^*|^2$ over the variance of $g$.
#
# **Question 2.4.** Write it as a function of the length $T$. (Take the noise to be the same at all
# steps. At the pivot some of it is signal, a small mistake that the check forgives.)


# %% tags=["answer"]
def snr(length):
    """Signal over noise of the gradient of one group, in a chain of so many tokens."""
    signal = 2 * (0.5 * 0.3) ** 2
    noise = 0.25 * (1 + 1 / 7) * 0.5 / 8
    return signal / (length * noise)


# %%
check("2.4", snr)

# %% [markdown] tags=["solution"]
# $\mathrm{SNR}(T) = 0.045 / (0.0179\, T) = 2.52 / T$. All of it is known before a single episode is
# run.

# %% [markdown]
# The mean of $K$ independent groups has the same signal and a $K$-th of the variance.
#
# **Question 2.5.** How many groups must be averaged at 4,096 tokens until signal and noise are as
# large as each other?

# %% tags=["answer"]
groups_needed = 4096 / 2.52

# %%
check("2.5", groups_needed)

# %% [markdown] tags=["solution"]
# $K \cdot 2.52 / 4096 = 1$ at $K = 1625$ groups: 13,000 episodes, each of which ends with one bit.
# At 30,000 tokens it is 11,900 groups. A step that large cannot be what training does. It takes
# many steps along gradients that are mostly noise, and hopes that the noise averages out on the
# way.

# %% [markdown]
# ## 4. What of the outcome is luck?
#
# The outcome has variance 0.25. A part of it is decided by the policy, at the pivot. The rest is
# luck: after the pivot, the answer is still verified with probability 0.8 or 0.2 only. By the law
# of total variance,
#
# $$\mathrm{Var}(R) = \mathrm{Var}\big(\mathrm{E}[R \mid a]\big)
# + \mathrm{E}\big[\mathrm{Var}(R \mid a)\big].$$
#
# **Question 2.6.** Which share of the variance of the outcome does the choice at the pivot decide?

# %% tags=["answer"]
share_decided = 0.3**2 / 0.25

# %%
check("2.6", share_decided)

# %% [markdown] tags=["solution"]
# $\mathrm{E}[R \mid a]$ is 0.8 or 0.2, 0.3 away from its mean: variance $0.09$, a share of $0.36$.
# The rest, $0.8 \cdot 0.2 = 0.16$, is luck.

# %% [markdown]
# ## 5. A perfect baseline
#
# So most of the noise is not the policy's. A baseline removes what can be known without the action:
# with the exact value $V_t(s_t)$, $c_t = R - V_t(s_t)$ has mean $A$, and no other baseline has less
# noise here, since $|z|^2$ is the same after both actions. Past the pivot it leaves a variance of
# 0.16, where the mean square of RLOO's credit is 0.29.
#
# **Question 2.7.** How does the signal-to-noise ratio fall with the length $T$, if you know $V$
# exactly and use it as the baseline: "not at all", "like 1/sqrt(T)", "like 1/T" or "like 1/T^2"?

# %% tags=["answer"]
falls = "like 1/T"

# %%
check("2.7", falls)

# %% [markdown] tags=["solution"]
# The noise of a step becomes smaller, by a factor that does not depend on $T$, and it is still
# there at all $T$ steps. A baseline moves the line down; it does not change its slope.

# %% [markdown]
# What changes the slope is to stop giving the outcome to every step. Temporal-difference credit,
# $c_t = V_{t+1}(s_{t+1}) - V_t(s_t)$, is 0 at steps that decide nothing, and has noise where luck
# strikes: here at the very last step alone. Lesson 4 is about what it costs to have such a $V$.
#
# The figure of this lesson: exact ratios (lines), your law (crosses), and measured ones of RLOO
# with 95% intervals (points).

# %% tags=["hide-input"]
task = casim.Bifurcation(horizon=16, pivots=(4,), gap=0.6, base=0.5, num_segments=1)
forms = {
    "outcome less V, exact": (value_baseline, "#56B4E9", "s"),
    "RLOO": (peer_baseline(), "#0072B2", "o"),
    "GAE 0.95, exact V": (gae(0.95), "#E69F00", "D"),
    "TD error, exact V": (gae(0.0), "#D55E00", "^"),
}
lengths = np.array([16, 256, 4096])
exact = {name: [] for name in forms}
for length in lengths:
    mdp = task.with_horizon(int(length)).build()
    policy = casim.Uniform().table(mdp)
    for name, (form, *_) in forms.items():
        moments = recursion_moments(mdp, policy, form, num=8)
        exact[name].append(exact_scores(mdp, policy, moments)["snr_aligned"])

study = casim.Study(
    name="horizon",
    tasks=(task, task.with_horizon(256)),
    estimators=(casim.methods.RLOO,),
    replicates=1000,
    controls=(),
)
measured = {row.task["horizon"]: row.scores["snr_aligned"] for row in study.run()}

with style():
    figure, axis = plt.subplots(figsize=(4.2, 3), layout="constrained")
    for name, (_, color, mark) in forms.items():
        axis.plot(lengths, exact[name], f"{mark}-", color=color, label=name, markerfacecolor="none")
    by_hand = 2 * (0.5 * 0.3) ** 2 / (0.25 * (8 / 7) * 0.5 / 8) / lengths
    axis.plot(lengths, by_hand, "kx", label="2.52 / T")
    for length, score in measured.items():
        ends = [[score.value - score.low], [score.high - score.value]]
        axis.errorbar(length, score.value, ends, fmt=".", color="#0072B2", capsize=3)
    axis.set(xscale="log", yscale="log", xlabel="tokens T", ylabel="SNR of a group")
    axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axis.minorticks_off()
    axis.legend(loc="lower left")
plt.show()

# %% [markdown]
# - What gives the outcome to every step loses a factor of 16 with every factor of 16 in length. A
#   perfect baseline is worth a constant, here $0.2857 / 0.16 = 1.8$.
# - What knows where nothing is decided loses nothing at all. Methods differ by their slope: at
#   4,096 tokens the TD error is worth 4,000 times as much as the perfect baseline.
#
# ## An open question
#
# Here one token decides, however long the chain. If one token *in 64* decides, long chains have
# more to find. Does the ratio then fall more slowly, or not at all? What exactly has to be held
# fixed for this to be a question?
#
# ## Carry on
#
# ```sh
# casim ablate --task Bifurcation --over pivots=1,2,4 --over horizon=32,128 --estimators RLOO Gae
# ```
