"""The return of the greedy policy on the same prompt, as a baseline.

In maths: c_t - b, b the undiscounted return of one rollout of argmax_a pi(a | o).

References:
    Li et al. 2023, arXiv:2310.10505 (ReMax).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax
import jax.numpy as jnp

from casim.estimators.base import Estimator, add_costs, check_taken, cost, count, required
from casim.types import recorded


@final
@dataclasses.dataclass(frozen=True)
class LessGreedy(Estimator):
    """The value less what a rollout of the greedy policy earns on the prompt of the group.

    One rollout for each group, from the first observation of its first trajectory, with what is
    hidden redrawn: charged. It depends on no action of the batch, so the gradient stays what it
    was. In a log it is the column `reward_baseline`, of each row.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reset"})

    def __call__(self, key, world, batch, credit, state):
        check_taken(credit, self)
        if batch.reward_baseline is not None:
            baseline = batch.reward_baseline
            used = 0.0
        else:
            greedy = required(world, self).greedy()
            first_of_each = jax.tree.map(lambda x: x[:, :1], recorded(batch))
            again = greedy.branch(key, first_of_each, 0, 1, replay="refed")
            returns = jnp.sum(again.reward, axis=-1)
            baseline = returns[..., 0]
            used = count(again.live)
        less = credit.value - baseline[..., None]
        value = jnp.where(batch.decided, less, credit.value)
        spent = cost(env_steps=used)
        paid = add_costs(credit.cost, spent)
        return credit._replace(value=value, cost=paid), state
