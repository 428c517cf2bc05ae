# %% [markdown]
# # Bootstrapping: TD, lambda, critics that lie
#
# Lesson 2 ended with two lines that do not fall with the length of an answer: both use a value
# function to say *where* something was decided. To learn from one's own expectation of the outcome
# instead of the outcome is called bootstrapping. It removes nearly all of the noise, and it
# believes what a critic says. This lesson lets critics lie in three ways, and looks at what each
# lie costs.

# %%
import matplotlib.pyplot as plt
import numpy as np

import casim
from casim.figures import style
from casim.lessons import check
from casim.oracle.moments import exact_scores, gae, recursion_moments

# %% [markdown]
# ## 1. Errors, and sums of errors
#
# The world is a chain of 32 tokens with its pivot at step 4, where a coin flip decides between
# success with probability 0.8 and with probability 0.2. The outcome comes after step 31. Everything
# in between is waiting.

# %%
PIVOT, GOOD, RIGHT = 4, 0, 0
task = casim.Bifurcation(horizon=32, pivots=(PIVOT,), gap=0.6, base=0.5, num_segments=1)
mdp = task.build()
policy = casim.Uniform().table(mdp)
exact = np.asarray(casim.solve(mdp, policy).value)  # [33, 2]: V of each step and state, then 0

# %% [markdown]
# A critic gives a value $\hat V_t(s)$ to each state. The **temporal-difference (TD) error** of a
# step is what got better, by its word:
#
# $$\delta_t = r_t + \hat V_{t+1}(s_{t+1}) - \hat V_t(s_t), \qquad \hat V = 0 \text{ after the
# end}.$$
#
# **Question 4.1.** Write it for a whole episode.


# %% tags=["answer"]
def td_errors(reward, value):
    """Errors `[T]` from rewards `[T]` and values `[T + 1]`."""
    return reward + value[1:] - value[:-1]


# %%
check("4.1", td_errors)

# %% [markdown] tags=["solution"]
# Values of the states after the steps, less those of the states before them. The last entry of
# `value`, after the end, is 0.

# %% [markdown]
# Generalised advantage estimation (GAE) adds up errors, later ones with less weight,
#
# $$c_t = \delta_t + \lambda\, \delta_{t+1} + \lambda^2 \delta_{t+2} + \dots = \delta_t + \lambda\,
# c_{t+1}.$$
#
# With $\lambda = 0$ it is the error itself. With $\lambda = 1$ all values between cancel, and $c_t
# = R - \hat V_t(s_t)$ is the outcome with a baseline. (Discounts are 1 here, as they mostly are for
# language models.)
#
# **Question 4.2.** Write it, from the last step backwards.


# %% tags=["answer"]
def credit_of(error, lambda_):
    """Credit `[T]` from errors `[T]`."""
    credit = np.zeros(len(error))
    later = 0.0
    for t in reversed(range(len(error))):
        later = error[t] + lambda_ * later
        credit[t] = later
    return credit


# %%
check("4.2", credit_of)

# %% [markdown] tags=["solution"]
# One pass from the end. This loop is also why bootstrapping is cheap: it costs nothing beyond the
# values.

# %% [markdown]
# ## 2. A critic that tells the truth
#
# **Question 4.3.** The critic is exact, $\hat V = V$. Think of the right action at the pivot, which
# takes $V$ from 0.5 to 0.8. What are the mean and the variance of its credit, with $\lambda = 0$
# and with $\lambda = 1$?

# %% tags=["answer"]
mean_of_errors = 0.3  # mean, lambda = 0
mean_of_outcome = 0.3  # mean, lambda = 1
variance_of_errors = 0.0  # variance, lambda = 0
variance_of_outcome = 0.8 * 0.2  # variance, lambda = 1

# %%
check("4.3", mean_of_errors, mean_of_outcome, variance_of_errors, variance_of_outcome)

# %% [markdown] tags=["solution"]
# Both are right on average. With $\lambda = 0$ the credit is $V_5 - V_4 = 0.3$ whenever the action
# is taken, without any noise. With $\lambda = 1$ the outcome is in it, and after the right action
# that has variance $0.8 \cdot 0.2 = 0.16$, at the pivot and at every step of waiting.

# %% [markdown]
# ## 3. Critics that lie
#
# Nobody has $V$. Here are three critics that are wrong in ways one meets:
#
# - **lifted**: $\hat V = V + 0.2$, too hopeful everywhere by the same amount, as after the policy
#   has got worse;
# - **timid**: $\hat V = 0.5 + \frac12 (V - 0.5)$, sees half of each difference, as a critic that is
#   still being trained;
# - **blind**: $\hat V = 0.5$ whatever happens, as one that has no way to tell the states apart.
#
# **Question 4.4.** Take the *lifted* critic and $\lambda = 0$. What is the mean credit of the right
# action at the pivot, and of any action at the last step, on the right track?

# %% tags=["answer"]
lifted_at_pivot = 0.3
lifted_at_end = 0.8 - 1.0

# %%
check("4.4", lifted_at_pivot, lifted_at_end)

# %% [markdown] tags=["solution"]
# $\delta_4 = (0.8 + 0.2) - (0.5 + 0.2) = 0.3$: a constant drops out of every difference. It is paid
# back where there is no next value, $\delta_{31} = R - (0.8 + 0.2)$, on average $-0.2$, for both
# actions alike: the policy gradient is not biased, and the noise of one step is a little larger.

# %% [markdown]
# **Question 4.5.** Now the *blind* critic. What is the mean credit of the right action at the
# pivot, with $\lambda = 0$, 0.95 and 1? (From step 4 to step 31 it is 27 steps.)

# %% tags=["answer"]
blind_0 = 0.0  # lambda = 0
blind_95 = 0.95**27 * 0.3  # lambda = 0.95
blind_1 = 0.3  # lambda = 1

# %%
check("4.5", blind_0, blind_95, blind_1)

# %% [markdown] tags=["solution"]
# All errors are 0 but the last, $\delta_{31} = R - 0.5$, on average 0.3 after the right action. At
# the pivot $\lambda^{27}$ of it arrives: nothing, a quarter, all. The credit that is missing there
# is not lost. It sits on the steps before the outcome, where nothing was decided.

# %% [markdown]
# So $\lambda$ says how far credit reaches back over a critic that sees nothing: about $1 / (1 -
# \lambda)$ steps, which is 20 for the usual 0.95.
#
# **Question 4.6.** Which $\lambda$ lets half of it through over a thousand tokens? (To five digits,
# or as a formula.)

# %% tags=["answer"]
lambda_of_a_thousand = 0.5 ** (1 / 1000)

# %%
check("4.6", lambda_of_a_thousand)

# %% [markdown] tags=["solution"]
# $\lambda = 2^{-1/1000} = 0.99931$. For answers of thousands of tokens anything that is not very
# close to 1 stakes everything on the critic, one reason why trainers of language models set
# $\lambda = 1$ by default. (VAPO lets $\lambda$ depend on the length, $1 - \frac{1}{\alpha T}$.)

# %% [markdown]
# **Question 4.7.** How long is the mean gradient over the *timid* critic, as a multiple of the
# exact one, with $\lambda = 0$ and with $\lambda = 1$?

# %% tags=["answer"]
timid_0 = 0.5  # lambda = 0
timid_1 = 1.0  # lambda = 1

# %%
check("4.7", timid_0, timid_1)

# %% [markdown] tags=["solution"]
# With $\lambda = 0$ the credit at the pivot is what the critic's values jump by, half of 0.3. With
# $\lambda = 1$ a critic is a baseline, and no baseline biases the gradient.

# %% [markdown]
# ## 4. Which lambda?
#
# **Question 4.8.** Over an exact critic, a timid one and a blind one, which of $\lambda = 0$, 0.95
# and 1 gives the gradient with the best signal-to-noise ratio, once the learning rate has been
# tuned (so that a gradient which is too short by a constant is no worse for it)?

# %% tags=["answer"]
best_exact = 0
best_timid = 0
best_blind = 1

# %%
check("4.8", best_exact, best_timid, best_blind)

# %% [markdown] tags=["solution"]
# Where the critic points to the right place, even half-heartedly, trust it: the less of the
# outcome, the less luck. Where it sees nothing, the outcome is all there is. The middle is never
# best here, and that is special to critics which are equally good at all steps: it is a hedge for
# those whose quality is not known.

# %% [markdown]
# The figure of this lesson: GAE over the four critics, exactly (lines), and over a table that was
# fitted by TD to fresh episodes (points, measured, with 95% intervals).

# %% tags=["hide-input"]
truth = {"exact": exact, "lifted": exact + 0.2, "timid": 0.5 + 0.5 * (exact - 0.5)}
critics = truth | {"blind": np.full_like(exact, 0.5)}
looks = {"exact": "k-", "lifted": "C4:", "timid": "C1--", "blind": "C3-."}
lambdas = [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0]
panels = {
    "gradient_bias": "squared bias",
    "gradient_variance": "variance",
    "snr_aligned": "signal-to-noise ratio",
}
scores = {}
for name, said in critics.items():
    said = np.where(np.arange(33)[:, None] == 32, 0.0, said)  # 0 after the end
    for lambda_ in lambdas:
        moments = recursion_moments(mdp, policy, gae(lambda_, said), num=8)
        scores[name, lambda_] = exact_scores(mdp, policy, moments)

fitted = [casim.Gae(lambda_=lambda_, fit="td") for lambda_ in (0.0, 0.95, 1.0)]
study = casim.Study("critics", (task,), tuple(fitted), replicates=600, controls=())
measured = dict(zip((0.0, 0.95, 1.0), study.run(), strict=True))

with style():
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
    places = np.arange(len(lambdas))
    for axis, (score, label) in zip(axes, panels.items(), strict=True):
        for name, look in looks.items():
            line = [scores[name, lambda_][score] for lambda_ in lambdas]
            axis.plot(places, line, look, label=name)
        for lambda_, row in measured.items():
            number = row.scores[score]
            ends = [[number.value - number.low], [number.high - number.value]]
            place = lambdas.index(lambda_)
            axis.errorbar(place, number.value, ends, fmt="o", color="#0072B2", capsize=2)
        axis.set(title=label, xlabel=r"$\lambda$")
        axis.set_xticks([0, 2, 4, 7], ["0", "0.8", "0.95", "1"])
    axes[0].errorbar([], [], [], fmt="o", color="#0072B2", capsize=2, label="fitted by TD")
    axes[0].set_ylabel("of the gradient, over $|g^*|^2$")
    axes[0].legend(loc="center left", bbox_to_anchor=(0, 0.57))
    axes[2].set(yscale="log", ylim=(1e-3, 10))
plt.show()

# %% [markdown]
# - Bias comes from differences that the critic does not see, never from its level. It vanishes at
#   $\lambda = 1$, where variance is largest.
# - The ratio puts both together: it falls with $\lambda$ over a critic that points to the right
#   place, and rises over one that is blind. The same setting is the best choice or the worst, and
#   nothing in the training curve says which.
#
# ## An open question
#
# You can look at the critic's errors, but you don't have $V$. What could you measure, from episodes
# alone, to tell a *timid* critic from a *blind* one? (A regression of outcomes on $\hat V_t$, at
# each $t$, is a beginning. What does its slope say, and what its residual?)
#
# ## Carry on
#
# ```sh
# casim ablate --task Bifurcation --over horizon=16,64 --over estimator.lambda=0,0.95,1 \
#     --estimators Gae --score gradient_bias gradient_variance snr_aligned
# ```
