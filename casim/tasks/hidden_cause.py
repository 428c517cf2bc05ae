"""HiddenCause: two worlds that log the same and in which the action has effects of opposite sign.

In maths: a hidden cause z is a fair coin. The action a at step 0 succeeds with probability

    world = +1: P(1 | z, a) = 1 if a = 1, else 1 - z    (action 1 always works, 0 only if z = 0);
    world = -1: P(1 | z, a) = 1 if a = 0, else z        (action 0 always works, 1 only if z = 1).

The last step pays 1 on success; the steps between do nothing. The behaviour of the logs knows z and
plays a = z (`confounded`), so that in both worlds every log holds a constant text, a fair coin for
the action, and success. E[R | do(a = 1)] - E[R | do(a = 0)] = +1/2 in the first world and -1/2 in
the second.

Optimum: 1 for a policy that sees z as for one that does not (action 1, respectively 0).

What it separates: estimators that restore the state from all that read logs, which cannot know the
sign. Observations show z to the behaviour at step 0; `logged` takes them out.

References:
    Proposition 2 of Zhang 2026, arXiv:2604.09459; the cells that are never logged are filled in
    here, and they are the only ones that give +-1/2.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from casim.checks import check_choice, check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind, Trajectory

ACT, WAIT, PAY, ACT_AND_PAY = range(4)
BLANK = -1
PENDING = -1


@final
@dataclasses.dataclass(frozen=True)
class HiddenCause(RuleTask):
    """One action with a hidden confounder. The horizon is the number of steps.

    Attributes:
        world: +1 or -1, the sign of the action's effect.
        horizon: T, at least 1.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    world: Literal[1, -1] = 1
    horizon: int = 3
    discount: float = 1.0
    num_actions: ClassVar[int] = 2
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {ACT: Kind.TOOL, WAIT: Kind.THINK, PAY: Kind.OUTPUT, ACT_AND_PAY: Kind.TOOL}

    def __post_init__(self) -> None:
        check_choice("world", self.world, (1, -1))
        check_integer("horizon", self.horizon, 1)
        check_range("discount", self.discount, 0.0, 1.0)

    def confounded(self) -> Float[Array, "M O 2"]:
        """The behaviour of the logs as a policy table: it plays the hidden cause, then anything."""
        mdp = self.build()
        kernels, _, observations = mdp.emission.shape
        policy = np.full((kernels, observations, 2), 0.5)
        first = int(mdp.schedule[0])
        emission = np.asarray(mdp.emission)[first]
        seen = np.argmax(emission, axis=-1)
        (states,) = np.nonzero(np.asarray(mdp.start))
        for cause, state in enumerate(states):
            policy[first, seen[state]] = np.eye(2)[cause]
        return jnp.asarray(policy)

    @staticmethod
    def logged(batch: Trajectory) -> Trajectory:
        """What a log holds of a batch: actions and rewards beside a constant text.

        No state and no probability.
        """
        blank = jnp.zeros_like(batch.observation)
        unknown = jnp.zeros_like(batch.log_prob)
        return batch._replace(state=blank, observation=blank, log_prob=unknown)

    def layout(self) -> Layout:
        code = np.full(self.horizon, WAIT)
        code[0] = ACT
        code[-1] = PAY
        if self.horizon == 1:
            code[0] = ACT_AND_PAY
        return Layout.first_apart(code)

    def start(self) -> dict:
        return {(cause, PENDING): 0.5 for cause in (0, 1)}

    def shows(
        self,
        code: int,
        state: tuple[int, int],
    ) -> int:
        return state[0] if code in (ACT, ACT_AND_PAY) else BLANK

    def moves(
        self,
        code: int,
        state: tuple[int, int],
        action: int,
    ) -> list:
        cause, outcome = state
        if code in (ACT, ACT_AND_PAY):
            # One action works whatever the cause, and under one cause any action does.
            by_action, by_cause = (1, 0) if self.world == 1 else (0, 1)
            works = action == by_action or cause == by_cause
            after = (cause, int(works))
            pays = works and code == ACT_AND_PAY
            return [(after, 1.0, float(pays))]
        pays = code == PAY and outcome == 1
        return [(state, 1.0, float(pays))]
