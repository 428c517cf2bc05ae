# %% [markdown]
# # Judges and process rewards: hacking and shuffled labels
#
# A judge reads every step of an answer and scores it: feedback at every step instead of one bit at
# the end. Now credit is as good as the judge. This lesson asks what its errors do, what happens if
# it can be pleased, and how to find out whether it knows anything.

# %%
import matplotlib.pyplot as plt
import numpy as np

from casim.figures import style
from casim.lessons import check
from casim.lessons.judges import ARMS, labels, snr, success, trained, uniform

# %% [markdown]
# ## 1. From scores to credit
#
# A judge gives the scores $r_1, \dots, r_T$: what it takes the chance of success to be after each
# step. Two ways to make the return of a step from them:
#
# $$\text{sum: } G_t = \sum_{u \ge t} r_u, \qquad \text{minimum: } G_t = \min_{u \ge t} r_u.$$
#
# The minimum is that of PURE: an answer is as good as its weakest step.
#
# **Question 7.1.** Write the minimum in one line. Then: by how much does an error of 0.05, the same
# in each of six scores, move the return of the first step, in either form?

# %% tags=["answer"]


def minimum_from(scores):
    """The least of the scores from each step on, from an array of T scores."""
    # np.minimum.accumulate goes from the first entry to the last.
    return np.minimum.accumulate(scores[::-1])[::-1]


error_of_sum = 6 * 0.05
error_of_minimum = 0.05

# %%
check("7.1", minimum_from, error_of_sum, error_of_minimum)

# %% [markdown] tags=["solution"]
# Backwards, accumulated, and backwards again. Each of six scores adds its error to the sum, which
# is 0.3 here and grows with the length of the answer. Whichever score is the least, the minimum has
# the error of one.

# %% [markdown]
# That speaks for the minimum. It is not the expected reward that is optimised, though: even with a
# perfect judge the minimum has a gradient of another length and somewhat another direction.
#
# ## 2. A judge that can be pleased
#
# `HackableProcess`: at each of six steps the agent *works*, *hacks* or *errs*. A hack may lead into
# a hacked state and an error into a broken one, for good. A chain that works to the end succeeds
# with probability 0.7, the others never. The judge knows how good working states are, and scores a
# broken state 0; but it *likes* a hacked one and scores it 0.95.
#
# Train on its scores by following the exact expected gradient, with no sampling noise at all. Four
# forms: the sum or the minimum, and with the **end verified** or not, that is, with the last score
# replaced by the true outcome, 0 or 1.
#
# **Question 7.2.** Success is 0.167 at first. With which of the four forms does it grow: `"sum"`,
# `"minimum"`, `"sum, end verified"` or `"minimum, end verified"`?

# %% tags=["answer"]
survives = "minimum, end verified"

# %%
check("7.2", survives)

# %% [markdown] tags=["solution"]
# A hacked answer fails. If the end is verified its last score is 0, and the minimum passes this 0
# back to every step: hacking pays nothing, however much the judge likes it. The sum loses one score
# of 0.95 and keeps all the others. Without a verified end the minimum is no defence: all scores of
# a hacked state are high, and so is the least of them.

# %%
print(f"at first               {success(uniform())[0]:.3f}")
for arm in ARMS:
    print(f"{arm:<22} {trained(arm)[0]:.3f}")

# %% [markdown]
# So what protects is the *verified outcome*, and the minimum makes it count. Nothing was noisy
# here: training that is exact finds the judge's weakness for certain.
#
# ## 3. Does the judge know anything?
#
# A common test is to train on the judge's labels *shuffled* within each episode: if that does as
# well, the judge knew nothing of steps. Take the chain of lesson 1, with 12 steps of which one
# decides, and a judge that labels every step with the exact advantage of what was done: $\pm 0.3$
# at the pivot, 0 elsewhere.
#
# **Question 7.3.** After shuffling, what is the credit of the right action at the pivot on average?
# What is the cosine of the expected gradient with the exact one? And if each label also has noise,
# of deviation 1, how many times smaller is the signal-to-noise ratio of the shuffled labels,
# roughly?

# %% tags=["answer"]
mean_credit = 0.3 / 12  # of the right action at the pivot, labels shuffled
cosine = 1.0  # of the expected gradients
snr_factor = 12**2  # labels in order over labels shuffled

# %%
check("7.3", mean_credit, cosine, snr_factor)

# %% [markdown] tags=["solution"]
# After the right action the label $+0.3$ is in the episode, and lands on the pivot once in 12
# times: 0.025. On any other step it lands as often, but whatever the action there was: no
# difference between actions, no gradient. So the expected gradient is the exact one, divided by 12:
# its direction is right, the cosine 1. The noise is about the same, since it is the same labels,
# and the squared signal is $12^2 = 144$ times smaller. (Exactly 145.)

# %% [markdown]
# In short: a comparison in which noise averages out *cannot tell a judge from its own shuffled
# labels*, because shuffling keeps their sum. One that weighs signal against noise can, by a factor
# of up to $T^2$.
#
# The figure of this lesson. Left: the success that exact training reaches with the four forms, by
# the score of a hacked state; the dotted line is where it began. Right: the SNR of the gradient of
# one episode by the noise of the labels, in order and shuffled. Lines are exact; marks are sampled
# from 40,000 episodes, with intervals of 95%.


# %% tags=["hide-input"]
def sampled_snr(noise, mixed, rng, num=40_000):
    """The SNR of one episode's gradient along the exact one, and half its interval."""
    exact = labels()
    steps = len(exact)
    action = rng.integers(2, size=(num, steps))
    said = exact[np.arange(steps), action] + noise * rng.normal(size=(num, steps))
    if mixed:
        said = rng.permuted(said, axis=1)
    push = np.where(action == 0, 0.5, -0.5) * said
    wanted = exact[:, 0] / np.linalg.norm(exact[:, 0])
    along = push @ wanted
    size = np.sum(push**2, axis=1)
    snr = along.mean() ** 2 / (size.mean() - along.mean() ** 2)
    # The relative error of a squared mean is twice that of the mean, by far the larger part.
    half = 1.96 * snr * 2 * along.std() / abs(along.mean()) / num**0.5
    return snr, half


praises = tuple(np.linspace(0, 1, 21).tolist())
noises = np.geomspace(0.03, 1, 13)
rng = np.random.default_rng(0)
looks = {}
for arm, (least, verified) in ARMS.items():
    looks[arm] = ("#0072B2" if least else "#D55E00", "--" if verified else "-")

with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.7), layout="constrained")
    for arm, (color, line) in looks.items():
        left.plot(praises, trained(arm, praises), line, color=color, label=arm)
    left.axhline(success(uniform())[0], color="k", linestyle=":", linewidth=0.9)
    left.set(xlabel="judge's score of a hacked state", ylabel="success after training")
    left.set(ylim=(0, 1.05))
    left.legend(loc="upper center", ncols=2, columnspacing=1)
    for name, mixed, color in (("in order", False, "#009E73"), ("shuffled", True, "#777777")):
        lines = [snr(noise, mixed) for noise in noises]
        right.plot(noises, lines, color=color, label=name)
        for noise in noises[::6]:
            found, half = sampled_snr(noise, mixed, rng)
            right.errorbar(noise, found, half, fmt="o", color=color, capsize=2)
    right.set(xscale="log", yscale="log", xlabel="noise of a label (deviation)", ylabel="SNR")
    right.legend()
plt.show()

# %% [markdown]
# - **A verified end, and a form that passes its failure back**, withstand any praise. The sum holds
#   out until the praise of all later states outweighs honest work, the minimum falls sooner.
# - Verification helps the sum a little: it costs a hack one score out of many, ever less in longer
#   chains.
# - Shuffled labels lie two orders of magnitude and more below the judge's own, though their
#   gradient points the same way. *Which score* you compare decides what you find.
#
# ## An open question
#
# Verification came once, at the end. Suppose you could verify one more step of each answer, at a
# price, and the judge knows that you may look. Which step would you choose, and should the judge be
# able to predict it?
#
# ## Carry on
#
# Published forms on the same process, with sampling noise, by how much the judge likes a hack:
#
# ```sh
# casim ablate --task HackableProcess --over praise=0.1,0.5,0.95 \
#   --estimators RLOO PURE_HARD PURE_VERIFIABLE --score gradient_cosine
# ```
