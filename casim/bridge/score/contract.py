"""The first stage: is it a function that its trainer can call, and does it do what it claims?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from casim.bridge.errors import FunctionError
from casim.bridge.function import Called
from casim.bridge.score import why
from casim.bridge.score.asked import OfFunction, OfMethod, is_parted
from casim.bridge.score.rules import (
    NEARLY,
    RULES,
    Rule,
    are_alone,
    has_company,
    is_finite,
    masked_are_zero,
    same,
    scaled,
    shifted,
)
from casim.bridge.score.samples import Sample, samples
from casim.bridge.score.verdicts import Breach, Line, Verdict
from casim.methods import (
    GAE_OPENRLHF,
    GAE_SKYRL,
    GAE_VERL,
    REINFORCE_PP_BASELINE_OPENRLHF,
    REINFORCE_PP_OPENRLHF,
    REMAX,
    Method,
)

LEAVES_NUMBERS = (
    GAE_OPENRLHF,
    GAE_SKYRL,
    GAE_VERL,
    REINFORCE_PP_BASELINE_OPENRLHF,
    REINFORCE_PP_OPENRLHF,
    REMAX,
)
"""Methods whose trainers leave numbers on masked tokens: a shift, by whitening or a baseline."""
CALLS = {
    "runs": "it can be called",
    "shape": "it gives advantages of the right shape",
    "device": "it stays on the device of what it is given",
    "arguments": "it leaves its arguments as they are",
}
"""What can be wrong with a call, and the line that says so."""
PURE = "it gives the same twice"
NO_CREDIT = "it gives no credit that can be compared"
CLAIM = "it is what it claims to be"
DISCOUNTED = "also at gamma 0.9"
GAMMA = 0.9
CLOSE = 1e-5
"""Credits that differ by less than this share of the largest are those of the method."""
RESPONSES = {
    "rewards times 3: the credit": scaled,
    "outcomes plus 1: the credit": shifted,
}


class Tried(NamedTuple):
    """What became of the calls."""

    works: list[Sample]
    """Batches on which the function gives credit."""
    finite: list[Sample]
    """Those of them on which it is finite, and the same twice."""
    errors: dict[str, tuple[Sample, FunctionError]]
    """What went wrong first, by the line that it breaks."""
    impure: Breach | None


def line_names() -> list[str]:
    """The lines of the contract, in their order."""
    rules = [rule.name for rule in RULES]
    return [*CALLS.values(), PURE, *rules, *RESPONSES, CLAIM, DISCOUNTED]


def contract(
    called: Called,
    method: Method | None,
) -> list[Line]:
    """The lines of the contract.

    Args:
        called: the function.
        method: what it claims to be, or None.
    """
    asked = OfFunction(called, is_parted(called, method))
    claimed = None if method is None else OfMethod(method)
    tried = _try(asked)
    lines = [_of_call(key, name, tried) for key, name in CALLS.items()]
    lines.append(_purity(tried))
    lines += [_of_rule(rule, asked, claimed, tried) for rule in RULES]
    for name, response in RESPONSES.items():
        lines.append(_of_response(name, response, asked, claimed, tried))
    if claimed is not None:
        lines += _claims(asked, claimed, tried)
    return lines


def _try(asked: OfFunction) -> Tried:
    """Calls the function on every batch, twice."""
    works: list[Sample] = []
    finite: list[Sample] = []
    errors: dict[str, tuple[Sample, FunctionError]] = {}
    impure = None
    for sample in samples(asked.called.convention.equal_groups):
        try:
            asked.called(asked.handed(sample.rows), watched=True)
        except FunctionError as error:
            alone = are_alone(asked, sample)
            key = "alone" if alone and error.line == "runs" else error.line
            errors.setdefault(key, (sample, error))
        try:
            first, second = asked(sample), asked(sample)
        except FunctionError:
            continue
        works.append(sample)
        if not np.array_equal(first, second, equal_nan=True):
            reason = "the same batch, asked twice, gets two credits: first right, then came"
            impure = impure or Breach(sample.rows, second, first, reason)
        elif np.isfinite(first[sample.rows.mask]).all():
            finite.append(sample)
    return Tried(works, finite, errors, impure)


def _of_call(
    key: str,
    name: str,
    tried: Tried,
) -> Line:
    found = tried.errors.get(key)
    if found is None:
        return Line(name, Verdict.PASS, "")
    sample, error = found
    return Line(
        name,
        Verdict.FAIL,
        str(error),
        Breach(sample.rows, None, None, str(error)),
    )


def _purity(tried: Tried) -> Line:
    if not tried.works:
        return Line(PURE, Verdict.SKIPPED, NO_CREDIT)
    if tried.impure is None:
        return Line(PURE, Verdict.PASS, "")
    return Line(PURE, Verdict.FAIL, "it draws, or remembers", tried.impure)


def _of_rule(
    rule: Rule,
    asked: OfFunction,
    claimed: OfMethod | None,
    tried: Tried,
) -> Line:
    """Looks for the smallest batch that breaks a rule."""
    error = tried.errors.get("alone")
    if rule.suits is are_alone and error is not None:
        sample, found = error
        breach = Breach(sample.rows, None, None, str(found))
        # A whitening refuses a batch of one token, and takes other groups of one.
        some = any(are_alone(asked, other) for other in tried.works)
        verdict = Verdict.REMARK if claimed is None or some else Verdict.FAIL
        return Line(rule.name, verdict, str(found), breach)
    known = tried.works if rule.broken is is_finite else tried.finite
    if not known:
        return Line(rule.name, Verdict.SKIPPED, NO_CREDIT)
    suited = [sample for sample in known if rule.suits(asked, sample)]
    if not suited:
        return Line(rule.name, Verdict.SKIPPED, "this trainer does not ask it")
    for sample in suited:
        try:
            breach = rule.broken(asked, sample)
        except FunctionError as problem:
            breach = Breach(sample.rows, None, None, str(problem))
        if breach is not None:
            verdict, said = _weighed(rule, claimed, suited)
            return Line(rule.name, verdict, said or breach.why, breach)
    return Line(rule.name, Verdict.PASS, "")


def _weighed(
    rule: Rule,
    claimed: OfMethod | None,
    suited: list[Sample],
) -> tuple[Verdict, str]:
    """What it means that the function breaks a rule."""
    if rule.binds:
        return Verdict.FAIL, ""
    if rule.advisory or claimed is None:
        return Verdict.REMARK, ""
    if _breaks(rule, claimed, suited):
        return Verdict.REMARK, f"as {claimed.method.name} does"
    return Verdict.FAIL, ""


def _breaks(
    rule: Rule,
    claimed: OfMethod,
    suited: list[Sample],
) -> bool:
    """Whether the claimed method breaks it as well."""
    if rule.broken is masked_are_zero:
        return claimed.method in LEAVES_NUMBERS
    if rule.of_layout:
        return False
    return any(rule.broken(claimed, sample) is not None for sample in suited)


def _of_response(
    name: str,
    response,
    asked: OfFunction,
    claimed: OfMethod | None,
    tried: Tried,
) -> Line:
    """What becomes of the credit, and of the method's, where rewards are others."""
    suited = [sample for sample in tried.finite if has_company(asked, sample)]
    words = []
    for sample in suited:
        if not asked(sample).any():
            continue
        word, breach = response(asked, sample)
        words.append(word)
        if claimed is None:
            continue
        wanted, right = response(claimed, sample)
        if word != wanted:
            reason = f"the credit {word}, and that of {claimed.method.name} {wanted}"
            found = breach._replace(right=right.came, why=reason)
            return Line(name, Verdict.FAIL, reason, found)
    if not words:
        return Line(name, Verdict.SKIPPED, NO_CREDIT)
    said = words[0] if len(set(words)) == 1 else "is another"
    return Line(name, Verdict.PASS if claimed else Verdict.REMARK, said)


def _claims(
    asked: OfFunction,
    claimed: OfMethod,
    tried: Tried,
) -> list[Line]:
    """Whether the credit is that of the method, at both discounts."""
    name = claimed.method.name
    plain = _claim(CLAIM, asked, claimed, tried.finite)
    if plain.verdict != Verdict.PASS:
        said = plain.said if plain.verdict == Verdict.SKIPPED else f"it is not {name} at gamma 1"
        skipped = Line(DISCOUNTED, Verdict.SKIPPED, said)
        return [plain, skipped]
    discounted = [_at_gamma(sample) for sample in tried.finite]
    if not _ignores_gamma(asked, tried.finite):
        return [plain, _claim(DISCOUNTED, asked, claimed, discounted)]
    if all(_is_close(asked, claimed, sample) for sample in discounted):
        return [plain, Line(DISCOUNTED, Verdict.PASS, "neither reads gamma")]
    said = f"it does not read gamma, and {name} does: right at gamma 1 only"
    return [plain, Line(DISCOUNTED, Verdict.REMARK, said)]


def _at_gamma(sample: Sample) -> Sample:
    return sample.changed(discount=np.full_like(sample.fields["discount"], GAMMA))


def _ignores_gamma(
    asked: OfFunction,
    works: list[Sample],
) -> bool:
    pairs = ((asked(sample), asked(_at_gamma(sample))) for sample in works)
    return all(np.array_equal(one, other, equal_nan=True) for one, other in pairs)


def _claim(
    line: str,
    asked: OfFunction,
    claimed: OfMethod,
    works: list[Sample],
) -> Line:
    """Whether the credit is that of the method on every batch, to 1e-5."""
    name = claimed.method.name
    if not works:
        return Line(line, Verdict.SKIPPED, NO_CREDIT)
    for sample in works:
        if _is_close(asked, claimed, sample):
            continue
        came, right = asked(sample), claimed(sample)
        reason = why.told(asked, claimed, works, sample)
        return Line(
            line, Verdict.FAIL, reason, Breach(sample.rows, came, right, reason, sample.rows.mask)
        )
    return Line(
        line,
        Verdict.PASS,
        f"{name}, on {len(works)} batches to {CLOSE:g}",
    )


def _is_close(
    asked: OfFunction,
    claimed: OfMethod,
    sample: Sample,
) -> bool:
    """Whether the two give the policy's tokens the same credit."""
    mask = sample.rows.mask
    came, right = asked(sample)[mask], claimed(sample)[mask]
    # Equal peers get exactly 0 here, and in trainers what an epsilon makes of rounding.
    return same(came, right, CLOSE if right.any() else NEARLY)
