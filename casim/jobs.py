"""What a study asks for: rows to be, grouped by the task and policy that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from casim.controls import Control
from casim.identity import sources
from casim.judging import Grader
from casim.methods import Method as Published
from casim.methods import recipe_of
from casim.plan import Groups
from casim.policies import Behaviour, Policy
from casim.programs import Method
from casim.report import (
    beside,
    classes,
    describe,
    identity,
    label,
    question,
    split_judges,
)
from casim.tasks import Task


class Sizes(NamedTuple):
    """What all rows of a study share."""

    study: str
    groups: Groups
    replicates: int
    profiles: tuple[str, ...] = ()
    exact: bool = False
    """Whether rows hold the exact scores of methods of which they are known."""


class Job(NamedTuple):
    """A row to be."""

    method: Method
    seed: int
    question: str
    sources: dict[str, str]
    """Digests of the code that is to answer the question."""

    @property
    def identity(self) -> str:
        """That of the row."""
        return identity(self.question, self.sources)


class Case(NamedTuple):
    """One task under one policy, and the rows it is to give."""

    task: Task
    policy: Policy
    judges: Mapping[str, Grader]
    jobs: list[Job]
    behaviour: Behaviour | None = None
    reference: Policy | None = None

    def asking(self, sizes: Sizes, methods: Iterable[Method], seeds: Iterable[int]) -> Case:
        """The same case with a job for every method and seed."""
        jobs = []
        judge, more = split_judges(self.judges)
        others = (self.behaviour, self.reference)
        described = (describe(self.behaviour), describe(self.reference))
        added = beside(*described, more, sizes.profiles, sizes.exact)
        for seed in map(int, seeds):
            for method in methods:
                recipe = recipe_of(method)
                acting = map(describe, (self.task, self.policy))
                numbers = (*sizes.groups, sizes.replicates, seed)
                described = (*acting, judge, describe(recipe))
                asked = question(sizes.study, *described, *numbers, *added)
                recipes = (self.task, self.policy, recipe, *self.judges.values(), *others)
                made_by = sources(classes(recipes))
                jobs.append(Job(method, seed, asked, made_by))
        return self._replace(jobs=jobs)


def questions(cases: Iterable[Case]) -> Iterator[tuple[str, dict[str, str]]]:
    """What the cases ask, and the digests of the code that is to answer."""
    for case in cases:
        for job in case.jobs:
            yield job.question, job.sources


def label_of(method: Method) -> str:
    """The name of a method in tables and figures."""
    return method.name if isinstance(method, Control | Published) else label(method)
