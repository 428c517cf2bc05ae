"""A group read as one graph: decisions with the same observation are one node.

In maths, with s the node of a decision and s' that of the next decision of the trajectory, an edge
s -> s' for every decision, and for the last one an edge to the end, which is worth the outcome:

- `ShortestPath`: scale omega^{d(s')}, with d(s) the fewest edges from s to a success.
- `NodeGain`: V(s') less V(s), V by Bellman sweeps over the counted edges or by Monte Carlo.
- `ActionValues`: what those earned who did the same at s, less what all earned who came there.

The value that is handed in is the outcome of the trajectory, or for `ActionValues` what a step is
worth. Steps of the environment are passed over.

References:
    Cheng et al. 2026, arXiv:2605.26684 (GraphGPO); Wang et al. 2026, arXiv:2606.22995 (G2PO); Yao
    et al. 2026, arXiv:2609.28963 (GRAFT); Wang, Zheng and Xiao 2026, arXiv:2604.11037 (RTMC); Li et
    al. 2026, arXiv:2606.05885 (ECPO).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import Part, check_taken
from casim.estimators.peers import anchor, next_decision, paired
from casim.estimators.scales import per_trajectory
from casim.simulate import World
from casim.sums import label_max, label_sum
from casim.types import Batch


class Graph(NamedTuple):
    """The decisions of each prompt as edges between what was seen before them; L nodes."""

    node: Int[Array, "P N T"]
    then: Int[Array, "P N T"]
    """The node of the next decision; any at the last."""
    edge: Bool[Array, "P N T"]
    """The decisions of trajectories that count."""
    last: Bool[Array, "P N T"]
    """The last decision of each trajectory."""
    size: int
    """L."""

    @classmethod
    def of(
        cls,
        world: World | None,
        batch: Batch,
    ) -> Graph:
        """The graph of each prompt."""
        nodes = anchor(world, batch)
        edge = batch.decided & batch.counted[..., None]
        after = next_decision(batch)
        steps = batch.action.shape[-1]
        then = jnp.take_along_axis(
            nodes.label,
            jnp.minimum(after, steps - 1),
            axis=-1,
        )
        return cls(
            nodes.label,
            then,
            edge,
            edge & (after == steps),
            nodes.size,
        )

    def total(self, x: Float[Array, "P N T"]) -> Float[Array, "P L"]:
        """Sums over the edges out of each node."""
        own = jnp.where(self.edge, x, 0.0)
        return jnp.sum(
            label_sum(
                own,
                self.node,
                self.size,
            ),
            axis=1,
        )

    def mean(self, x: Float[Array, "P N T"]) -> Float[Array, "P L"]:
        """Means over the edges out of each node; 0 where there are none."""
        number = self.total(jnp.ones_like(x))
        return self.total(x) / jnp.maximum(number, 1.0)

    def smallest(self, x: Float[Array, "P N T"]) -> Float[Array, "P L"]:
        """The smallest over the edges out of each node; infinite where there are none."""
        own = jnp.where(self.edge, -x, -jnp.inf)
        return -jnp.max(
            label_max(
                own,
                self.node,
                self.size,
            ),
            axis=1,
        )

    def ahead(self, y: Float[Array, "P L"], end: Float[Array, "P N"]) -> Float[Array, "P N T"]:
        """What the next node has, or the end of the trajectory."""
        return jnp.where(
            self.last,
            end[..., None],
            _read(y, self.then),
        )

    def here(self, y: Float[Array, "P L"]) -> Float[Array, "P N T"]:
        """What the node of each decision has."""
        return _read(y, self.node)

    def left(self) -> Int[Array, "P N T"]:
        """Decisions from each step to the end, its own included."""
        edge = self.edge[..., ::-1]
        return jnp.cumsum(edge, axis=-1)[..., ::-1]


def _read(y: Float[Array, "P L"], label: Int[Array, "P N T"]) -> Float[Array, "P N T"]:
    return jax.vmap(lambda row, at: row[at])(y, label)


@final
@dataclasses.dataclass(frozen=True)
class ShortestPath(Part):
    """How near the next node is to a success, by the shortest path that the group has walked.

    In maths: scale omega^{d(s')}. The end of a success has d = 0, and what leads to no success has
    the largest d that there is plus 1. Without a success in the group all get 0. So a lucky edge
    shortens the way for all: it is the potential of an optimist, whatever the policy.

    Attributes:
        omega: in (0, 1).
        scale: positive.
        success: the least outcome that is one.

    Raises:
        ValueError: a setting out of its range.
    """

    omega: float = 0.1
    scale: float = 10.0
    success: float = 0.5
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_range("omega", self.omega, 1e-12, 1 - 1e-12)
        check_range("scale", self.scale, 1e-12, math.inf)
        check_range("success", self.success, -1e12, 1e12)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        graph = Graph.of(world, batch)
        each, present = per_trajectory(credit.value, batch)
        succeeds = present & (each >= self.success)
        distance = _distances(
            graph,
            succeeds,
            credit.value.dtype,
        )
        finite = jnp.isfinite(distance)
        largest = jnp.max(
            jnp.where(
                finite,
                distance,
                0.0,
            ),
            axis=1,
            keepdims=True,
        )
        distance = jnp.where(
            finite,
            distance,
            largest + 1,
        )
        end = jnp.where(succeeds, 0.0, largest + 1)
        near = self.scale * self.omega ** graph.ahead(distance, end)
        shown = graph.edge & jnp.any(succeeds, axis=1)[:, None, None]
        return credit._replace(
            value=jnp.where(
                shown,
                near,
                0.0,
            )
        )


def _distances(
    graph: Graph,
    succeeds: Bool[Array, "P N"],
    dtype: jnp.dtype,
) -> Float[Array, "P L"]:
    """The fewest edges from each node to a success, infinite where there is no way.

    Every round walks all trajectories to their ends, so there are as many rounds as a shortest path
    changes trajectories, and one more.
    """
    left = graph.left().astype(dtype)
    never = jnp.full((), jnp.inf, dtype)
    end = jnp.where(succeeds, 0.0, never)[..., None]

    def walk(distance: Float[Array, "P L"]) -> Float[Array, "P L"]:
        # The way along the trajectory to where the nearest node ahead is left.
        leave = jnp.where(
            graph.edge,
            graph.here(distance) - left,
            never,
        )
        best = jax.lax.cummin(
            leave,
            axis=leave.ndim - 1,
            reverse=True,
        )
        return graph.smallest(left + jnp.minimum(best, end))

    def step(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        _, now = pair
        return now, jnp.minimum(now, walk(now))

    nowhere = jnp.full((graph.node.shape[0], graph.size), never)
    first = (nowhere, walk(nowhere))
    return jax.lax.while_loop(
        lambda pair: jnp.any(pair[0] != pair[1]),
        step,
        first,
    )[1]


@final
@dataclasses.dataclass(frozen=True)
class NodeGain(Part):
    """The value of the next node of the group's graph, or how much more it is.

    In maths, with R the outcome, gamma the discount and k the decisions from a step to the end, its
    own included: by "monte_carlo" V(s) is the mean of gamma^k R over the visits of s; by "bellman"
    V(s) = gamma mean V(s') over the counted edges, with V = R at the end, which is the value in the
    process that the group has seen. One's own trajectory is among both.

    By "bellman", means of gamma V(s') - V(s) over the edges out of a node are 0, so sums of later
    ones over all edges that can be reached, as in Graph GAE, add nothing.

    Attributes:
        fit: "bellman" or "monte_carlo".
        give: "next" V(s'), "gain" V(s') - V(s), or "error" gamma V(s') - V(s).
        discount: per decision, in [0, 1].
        success: the outcome that is one: the end is worth it where the outcome equals it, and else
            0; None is worth the outcome, whatever it is. It changes the end, not the Monte Carlo.
        sweeps: of Bellman's equation, at most; they begin with the Monte Carlo values and end where
            nothing changes any more.

    Raises:
        ValueError: a setting out of its range.
    """

    fit: Literal["bellman", "monte_carlo"] = "bellman"
    give: Literal["next", "gain", "error"] = "error"
    discount: float = 0.99
    success: float | None = None
    sweeps: int = 2000
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_choice(
            "fit",
            self.fit,
            ("bellman", "monte_carlo"),
        )
        check_choice(
            "give",
            self.give,
            ("next", "gain", "error"),
        )
        check_range("discount", self.discount, 0.0, 1.0)
        check_integer("sweeps", self.sweeps, 1)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        graph = Graph.of(world, batch)
        outcome, present = per_trajectory(credit.value, batch)
        worth = self.discount ** graph.left() * outcome[..., None]
        value = graph.mean(worth)
        end = outcome
        if self.success is not None:
            end = jnp.where(
                present & (outcome == self.success),
                self.success,
                0.0,
            )
        if self.fit == "bellman":
            value = self._solved(graph, value, end)
        given = graph.ahead(value, end)
        if self.give == "error":
            given = self.discount * given
        if self.give != "next":
            given = given - graph.here(value)
        return credit._replace(
            value=jnp.where(
                graph.edge,
                given,
                0.0,
            )
        )

    def _solved(
        self, graph: Graph, value: Float[Array, "P L"], end: Float[Array, "P N"]
    ) -> Float[Array, "P L"]:
        """The values that Bellman's equation leaves as they are, up to rounding."""
        size = jnp.max(jnp.abs(end))
        enough = 2 * jnp.finfo(value.dtype).eps * size

        def wanting(so_far: tuple[Array, Array, Array]) -> Bool[Array, ""]:
            number, before, now = so_far
            moves = jnp.any(jnp.abs(now - before) > enough)
            return (number < self.sweeps) & moves

        def sweep(so_far: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            number, _, now = so_far
            return number + 1, now, graph.mean(self.discount * graph.ahead(now, end))

        begin = (jnp.asarray(0), jnp.full_like(value, jnp.inf), value)
        return jax.lax.while_loop(
            wanting,
            sweep,
            begin,
        )[2]


@final
@dataclasses.dataclass(frozen=True)
class ActionValues(Part):
    """What those who did the same at a node earned, less what all earned who came there.

    In maths, with G the value that is handed in, n visits of node s with mean V, n_a of them that
    did a with mean Q, and r the mean outcome of the group:

        c = (n_a Q + k_a V) / (n_a + k_a) - (n V + k_s r) / (n + k_s),

    times, if `explained`, the share of the variance of G at s that is between the actions. It pools
    over equal actions, which lowers the variance at the same mean.

    Attributes:
        action_prior: k_a, visits that an action is given with the value of its node, at least 0.
        node_prior: k_s, visits that a node is given with the mean outcome, at least 0.
        visits: "every" one counts, or the "first" of a pair of node and action in each trajectory.
        explained: whether it is multiplied by the share of the variance.

    Raises:
        ValueError: a setting out of its range.
    """

    action_prior: float = 0.0
    node_prior: float = 0.0
    visits: Literal["every", "first"] = "every"
    explained: bool = False
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_range(
            "action_prior",
            self.action_prior,
            0.0,
            1e12,
        )
        check_range(
            "node_prior",
            self.node_prior,
            0.0,
            1e12,
        )
        check_choice(
            "visits",
            self.visits,
            ("every", "first"),
        )

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        nodes = Graph.of(world, batch)
        pairs = _with_action(nodes, batch)
        if self.visits == "first":
            first = _first_visit(pairs)
            nodes = nodes._replace(edge=first)
            pairs = pairs._replace(edge=first)
        value = jax.lax.optimization_barrier(credit.value)
        one = jnp.ones_like(value)
        node = nodes.here(nodes.mean(value))
        action = pairs.here(pairs.mean(value))
        number = nodes.here(nodes.total(one))
        own = pairs.here(pairs.total(one))
        shrunk = own * action + self.action_prior * node
        shrunk = shrunk / jnp.maximum(own + self.action_prior, 1.0)
        prior = _mean_outcome(batch)
        smooth = number * node + self.node_prior * prior
        smooth = smooth / jnp.maximum(number + self.node_prior, 1.0)
        given = shrunk - smooth
        if self.explained:
            between = nodes.here(nodes.mean((action - node) ** 2))
            around = nodes.here(nodes.mean((value - node) ** 2))
            given = given * jnp.where(
                around > 0,
                between
                / jnp.where(
                    around > 0,
                    around,
                    1.0,
                ),
                0.0,
            )
        shown = batch.decided & batch.counted[..., None]
        return credit._replace(
            value=jnp.where(
                shown,
                given,
                0.0,
            )
        )


def _with_action(graph: Graph, batch: Batch) -> Graph:
    """The same edges, out of pairs of a node and an action."""
    label = paired(graph.node, batch.action.astype(jnp.int32))
    members, steps = batch.action.shape[1:]
    return graph._replace(node=label, size=members * steps)


def _first_visit(graph: Graph) -> Bool[Array, "P N T"]:
    """The first visit of each node in each trajectory."""
    steps = jnp.arange(graph.node.shape[-1])
    time = jnp.broadcast_to(steps, graph.node.shape).astype(float)
    met = jnp.where(graph.edge, -time, -jnp.inf)
    first = -label_max(met, graph.node, graph.size)
    return graph.edge & (
        time
        == jnp.take_along_axis(
            first,
            graph.node,
            axis=-1,
        )
    )


def _mean_outcome(batch: Batch) -> Float[Array, "P 1 1"]:
    """The mean over the group of what its trajectories earned, undiscounted."""
    there = batch.live & batch.counted[..., None]
    total = jnp.sum(
        jnp.where(
            there,
            batch.reward,
            0.0,
        ),
        axis=(1, 2),
        keepdims=True,
    )
    number = jnp.sum(batch.counted, axis=1)[:, None, None]
    return total / jnp.maximum(number, 1)
