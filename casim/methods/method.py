"""A published method: its recipe, and what is known of it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple, final

from jaxtyping import Array, Key

from casim.checks import check_choice
from casim.estimators import Estimator
from casim.oracle.moments import Known
from casim.simulate import World
from casim.targets import Target
from casim.types import Batch, Credit
from casim.vocabulary import CLAIMS, GRANULARITIES

__all__ = [
    "STATUSES",
    "Claim",
    "Method",
    "recipe_of",
]

STATUSES = ("checked", "second-hand", "analogue")
"""How sure the formula is: read in the paper or its code; told by others; or casim's own."""


class Claim(NamedTuple):
    """Something that a method is unbiased for."""

    what: Literal["target", "advantage", "gradient"]
    """Its target or the advantage in every cell (t, s, a), or the policy gradient."""
    undiscounted: bool = False
    """Whether it holds at discount 1 only."""


@final
@dataclasses.dataclass(frozen=True)
class Method:
    """A published method.

    Attributes:
        name: as the field calls it.
        recipe: the parts that it is made of.
        reference: author and year.
        arxiv: the paper's id, or None.
        number: in the survey arXiv:2604.09459, or None where it is not one of its 47.
        granularity: the unit that receives credit; left out, it is that of the recipe, as are
            the two that follow.
        methodology: the family.
        target: what its credit is meant to be.
        claims: what it is unbiased for; each has a test.
        stands_for: what replaces a part that needs an LLM; empty where nothing does.
        status: "checked", "second-hand" or "analogue", see `STATUSES`.
        enumerable: whether `casim.oracle.moments.group_moments` gives its exact moments; left out,
            that is so where it needs nothing but the group.
        recursion: what gives its exact moments at any horizon, by recursion in time, in groups of
            one prompt, in worlds that it does not refuse; None where nothing does.

    Raises:
        ValueError: a word that is none of those allowed.
    """

    name: str
    recipe: Estimator
    reference: str
    arxiv: str | None = None
    number: int | None = None
    granularity: str = ""
    methodology: str = ""
    target: Target | None = None
    claims: tuple[Claim, ...] = ()
    stands_for: str = ""
    status: Literal["checked", "second-hand", "analogue"] = "checked"
    enumerable: bool | None = None
    recursion: Known | None = None

    def __post_init__(self) -> None:
        # What the recipe says of itself stands, unless the method says otherwise.
        for field in ("granularity", "methodology", "target"):
            if not getattr(self, field):
                object.__setattr__(self, field, getattr(self.recipe, field))
        if self.enumerable is None:
            object.__setattr__(self, "enumerable", self.needs <= {"group", "privileged"})
        check_choice("granularity", self.granularity, GRANULARITIES)
        check_choice("status", self.status, STATUSES)
        for claim in self.claims:
            check_choice("claims", claim.what, CLAIMS)

    @property
    def needs(self) -> frozenset[str]:
        """What it needs beyond the batch."""
        return self.recipe.needs

    @property
    def stateful(self) -> bool:
        """Whether it learns or remembers anything from call to call."""
        return self.recipe.stateful

    def credit(self, key: Key[Array, ""], world: World | None, batch: Batch) -> Credit:
        """See `Estimator.credit`."""
        return self.recipe.credit(key, world, batch)

    def claims_at(self, discount: float) -> frozenset[str]:
        """What it is unbiased for in a world of this discount."""
        held = (c.what for c in self.claims if discount == 1 or not c.undiscounted)
        return frozenset(held)


def recipe_of(method: Any) -> Any:
    """The recipe of a published method; anything else is its own."""
    return method.recipe if isinstance(method, Method) else method
