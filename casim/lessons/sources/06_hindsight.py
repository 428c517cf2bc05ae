# %% [markdown]
# # Hindsight and information: knowing the outcome
#
# Once an answer has failed, it is often plain what went wrong. What exactly does an outcome tell of
# an action, how does one make credit of it, and when does one measure luck instead?

# %%
import matplotlib.pyplot as plt
import numpy as np

from casim.figures import style
from casim.lessons import check
from casim.lessons.hindsight import chance, corridor, gains, pushes, snr

# %% [markdown]
# ## 1. What the outcome says
#
# The chain of lesson 1: a coin flip at the pivot, success with probability 0.8 after the right
# action and 0.2 after the wrong one. **Hindsight** is the policy once the outcome $z$ is known,
#
# $$h(a \mid s, z) = P(a_t = a \mid s_t = s, z) = \pi(a \mid s)\, \frac{P(z \mid s, a)}{P(z \mid
# s)}.$$
#
# Hindsight credit gives the action that was taken
#
# $$c_t = \Big(1 - \frac{\pi(a_t \mid s_t)}{h(a_t \mid s_t, Z)}\Big)\, Z,$$
#
# with the outcome $Z$, 0 or 1. A simpler idea is to *weight* the outcome, $\frac{h}{\pi} Z$: more
# of it for an action that looks likelier now.
#
# **Question 6.1.** How likely is the right action after a success, and after a failure? What is
# $c_t$ if it was taken and succeeded? And the mean of the weighted outcome over all episodes in
# which it was taken?

# %% tags=["answer"]
h_success = 0.5 * 0.8 / 0.5  # of the right action, after a success
h_failure = 0.5 * 0.2 / 0.5  # of the right action, after a failure
credit_right = 1 - 0.5 / 0.8  # of the right action, if it succeeds
weighted_mean = 0.8 * (0.8 / 0.5)  # mean of h / pi Z over episodes with the right action

# %%
check("6.1", h_success, h_failure, credit_right, weighted_mean)

# %% [markdown] tags=["solution"]
# Bayes' rule: $0.5 \cdot 0.8 / 0.5 = 0.8$ and $0.5 \cdot 0.2 / 0.5 = 0.2$. The right action gets
# $1 - 0.5 / 0.8 = 0.375$ from a success and nothing from a failure, on average $0.8 \cdot 0.375 =
# 0.3$: its advantage. The weighted outcome is $1.6$ in 0.8 of the cases, 1.28 on average, which is
# $Q^2 / V$ and not $Q = 0.8$: a success is already more frequent after the right action, and the
# weight counts that a second time. The weight belongs to *all* actions of an episode, whichever was
# taken; then its mean is $Q$.

# %% [markdown]
# ## 2. What a reward owes to an action
#
# A corridor of seven steps. At the first step one of four actions takes a key; at the sixth one
# opens the door, with the key; then there is a treasure of 0.2. In between are apples, worth 0.1 or
# 0.9, if one picks on the right side. All choices are uniform. No apple depends on the key, but the
# return is full of apples.
#
# **Contribution coefficients** ask each reward $u$ by itself how much it owes to the action,
#
# $$w(a, u) = \frac{P(u \mid a)}{P(u)} - 1 = \frac{h(a \mid u)}{\pi(a)} - 1, \qquad C(a) =
# \sum_{k} w(a, r_k)\, r_k,$$
#
# and credit *every* action of the step, taken or not, with $C(a)$. This is COCOA.
#
# **Question 6.2.** Write $w$ from the probability of a reward after each action. Then: what is it
# for taking the key, of the treasure and of an apple of 0.9?

# %% tags=["answer"]


def coefficients(likely, policy):
    """w(a, u) of each action: likely[a] is P(u | a), policy[a] is pi(a)."""
    # P(u) is what the policy makes of it.
    return likely / (policy @ likely) - 1


treasure = 4 - 1
apple = 0.0

# %%
check("6.2", coefficients, treasure, apple)

# %% [markdown] tags=["solution"]
# Without the key there is no treasure, and one of four actions takes it: a treasure makes the key
# four times as likely as before, $w = 4 - 1 = 3$, and $-1$ for the other three. An apple is picked
# as often with the key as without: the ratio is 1, and $w = 0$. Not on average: exactly, so that no
# apple enters the credit of the key, however many there are.

# %%
for apples in range(4):
    row = "  ".join(f"{name} {value:.4f}" for name, value in snr(apples).items())
    print(f"{apples} apples: SNR at the key: {row}")

# %% [markdown]
# That is for exact coefficients. In practice they are learned, and what was never seen is learned
# wrong: coefficients counted from few episodes are biased. Hindsight on the whole return is less
# noisy than the return, but here it is not right: some returns are impossible without the key. An
# action that took no key never sees them, so that its own mean misses a part; the gradient keeps
# its direction and, with two apples, loses four tenths of its length.
#
# ## 3. Information as credit
#
# A model can also be asked during an answer how likely it thinks success is, and a step be credited
# with the **gain**: in probability, $V_{t+1} - V_t$, or in log-probability, $\log V_{t+1} - \log
# V_t$. A logarithm needs a **floor**, here 0.01, for probabilities that are 0. After the last step
# the probability is the outcome, 1 or 0. In probability both gains are 0 on average: values are
# martingales.
#
# **Question 6.3.** In nats, for the chain of section 1: the log gain of the right action at the
# pivot; its mean over both actions; and the mean log gain at the end, after the right action.

# %% tags=["answer"]
gain_right = np.log(0.8 / 0.5)  # of the right action, at the pivot
gain_pivot = (np.log(0.8 / 0.5) + np.log(0.2 / 0.5)) / 2  # mean over both actions
gain_end = 0.8 * np.log(1 / 0.8) + 0.2 * np.log(0.01 / 0.8)  # mean, after the right action

# %%
check("6.3", gain_right, gain_pivot, gain_end)

# %% [markdown] tags=["solution"]
# $\log \frac{0.8}{0.5} = 0.47$, and for the wrong action $\log \frac{0.2}{0.5} = -0.92$: on
# average $-0.22$, because a logarithm is concave (Jensen). At the end nothing is decided, the rest
# is luck; but a failure costs $\log \frac{0.01}{0.8} = -4.4$ nats, and on average $-0.70$ are
# lost. The floor chooses how much: it is a setting, and the largest term.

# %% [markdown]
# The figure of this lesson. Left: the SNR at the key from one episode, by the number of apples.
# Lines are exact; marks are sampled from 100,000 episodes, with intervals of 95%. Right: what log
# gains add up to over an episode of the chain, on average, by their floor; the band is half a
# standard deviation of an episode to each side. In probability it would be the dotted line.


# %% tags=["hide-input"]
def sampled_snr(paths, push, rng, num=100_000):
    """The SNR of a gradient, and half its interval, from episodes that are drawn."""
    drawn = push[rng.choice(len(push), size=num, p=paths.probability)]
    mean = drawn.mean(axis=0)
    signal = mean @ mean
    along = drawn @ mean / signal**0.5
    size = np.sum(drawn**2, axis=1).mean()
    # The relative error of a squared mean is twice that of the mean, by far the larger part.
    half = 1.96 * 2 * along.std() / num**0.5 * signal**0.5 / (size - signal)
    return signal / (size - signal), half


rng = np.random.default_rng(0)
numbers = np.arange(4)
exact = [snr(int(number)) for number in numbers]
colors = dict(zip(exact[0], ("#777777", "#D55E00", "#E69F00", "#009E73"), strict=True))
floors = np.geomspace(1e-4, 0.2, 12)

with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.7), layout="constrained")
    for name, color in colors.items():
        left.plot(numbers, [found[name] for found in exact], color=color, label=name)
        for number in (1, 3):
            _, paths = corridor(number)
            value, half = sampled_snr(paths, pushes(number)[name], rng)
            left.errorbar(number, value, half, fmt="o", color=color, capsize=2)
    left.set(xlabel="apples on the way", ylabel="SNR at the key", yscale="log")
    left.set(xticks=numbers, ylim=(1e-4, 2))
    left.legend(loc="upper center", ncols=2, columnspacing=1)
    known = [gains(floor) for floor in floors]
    for name, color in (("choice", "#0072B2"), ("luck", "#E69F00")):
        means = [chance(found[name]) for found in known]
        right.plot(floors, means, color=color, label=f"of {name}")
    total = [found["choice"] + found["luck"] for found in known]
    mean = np.array([chance(found) for found in total])
    square = np.array([chance(found**2) for found in total])
    half = np.sqrt(square - mean**2) / 2
    right.plot(floors, mean, "k", label="both")
    right.fill_between(floors, mean - half, mean + half, color="k", alpha=0.1, linewidth=0)
    right.axhline(0, color="k", linestyle=":", linewidth=0.9)
    right.set(xscale="log", xlabel="floor of the probability", ylabel="gain in an episode (nats)")
    right.legend(loc="lower right")
plt.show()

# %% [markdown]
# - **Asking each reward by itself leaves out what an action did not change.** The other three lose
#   their signal to the apples.
# - Gains in log-probability add up to less than nothing, and most of it is luck at the end, whose
#   size the floor sets. Gains in probability have mean 0, and are the TD error: luck included.
# - Knowing the outcome does not make credit exact. It moves noise from sampling into a model of
#   what the outcome says, and that has to be learned.
#
# ## An open question
#
# A language model that reads the outcome can be asked directly which step it blames. How would you
# find out whether its hindsight is $h(a \mid s, z)$, or a story that fits the outcome?
#
# ## Carry on
#
# Hindsight and contributions, learned and exact, as the corridor grows:
#
# ```sh
# casim ablate --task KeyToDoor --over length=7,13,23 \
#   --estimators RLOO HCA_RETURN COCOA_REWARD
# ```
