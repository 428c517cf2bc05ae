"""What importance ratios cost and leave: exact bias and variance of the gradient against staleness.

The behaviour is the policy before some exact ascent steps. Every trajectory of the behaviour is
listed, in double precision; credit is the whole return less a fixed baseline, the behaviour's value
of the prompt. Prints the tables of docs/scores.md.

    python benchmarks/staleness.py
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import casim
from casim.estimators import Chain, OverLength, Part, Ratio, Whole
from casim.oracle.moments import group_moments, precise, precise_truth
from casim.tables import aligned

TASK = casim.ToolChain(num_turns=2, tokens_per_turn=2)
POLICY = casim.Softmax(seed=1)
STALENESS = (0, 1, 4, 16)
STEP_SIZE = 0.5


@dataclasses.dataclass(frozen=True)
class Less(Part):
    """Takes a number off every credit."""

    number: float
    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        return credit._replace(value=jnp.where(batch.live, credit.value - self.number, 0.0))


FORMS = {
    "none": (),
    "product over the sequence": (Ratio("sequence"),),
    "... truncated to [0, 2]": (Ratio("sequence", bounds=(0.0, 2.0)),),
    "product over the turn": (Ratio("turn"),),
    "token": (Ratio("token"),),
    "... truncated to [0, 2] (TIS)": (Ratio("token", bounds=(0.0, 2.0)),),
    "... to [0.8, 1.28] (CISPO)": (Ratio("token", bounds=(0.8, 1.28)),),
    "... clipped at 0.8, 1.2 (PPO)": (Ratio("token", bounds=(0.8, 1.2), kind="ppo"),),
    "... within [0.5, 5] (IcePop)": (
        Ratio("token"),
        Ratio("token", bounds=(0.5, 5.0), kind="gate"),
    ),
    "geometric mean of the turn (SORL)": (Ratio("turn", "geometric", (0.8, 1.2), "ppo"),),
    "geometric mean of the sequence": (Ratio("sequence", "geometric"),),
    "... clipped, over the length (GSPO)": (
        Ratio("sequence", "geometric", (0.8, 1.2), "ppo"),
        OverLength("own"),
    ),
}


def two_policies(steps: int):
    """The process, the policy after so many updates and who acts, in double precision."""
    mdp = TASK.build()
    exact, table = precise(mdp, np.asarray(POLICY.table(mdp)))
    stale = casim.Stale(steps, STEP_SIZE)
    with jax.enable_x64(True):
        acting = jax.jit(stale.beside)(*jax.tree.map(jnp.asarray, (exact, table)))
        return exact, *map(np.asarray, acting)


def scores(steps: int, parts: tuple) -> tuple[float, float, float]:
    """Cosine with the exact gradient, bias and variance over its square."""
    mdp, policy, behaviour = two_policies(steps)
    truth = precise_truth(mdp, policy)
    own = float(precise_truth(mdp, behaviour).expected_return)
    chain = Chain(Whole(), Less(own), *parts)
    found = group_moments(mdp, policy, chain, 1, behaviour=behaviour)
    exact = truth.gradient
    size = np.sum(exact**2)
    cosine = np.sum(found.gradient * exact) / np.sqrt(size * np.sum(found.gradient**2))
    bias = np.sum((found.gradient - exact) ** 2) / size
    variance = np.sum(found.gradient_variance) / size
    return float(cosine), float(bias), float(variance)


def main() -> None:
    """Prints a line a form, a column a staleness."""
    rows = [[name, *(scores(steps, parts) for steps in STALENESS)] for name, parts in FORMS.items()]
    for place, name in enumerate(("cosine", "bias", "variance")):
        cells = [[name, *map(str, STALENESS)]]
        cells += [[row[0], *(f"{x[place]:.3g}" for x in row[1:])] for row in rows]
        print(f"\n{aligned(cells, 1)}")
    for steps in STALENESS:
        mdp, *tables = two_policies(steps)
        value, own = (float(precise_truth(mdp, table).expected_return) for table in tables)
        print(f"\n{steps} updates: J = {value:.3f}, of the behaviour {own:.3f}")


if __name__ == "__main__":
    main()
