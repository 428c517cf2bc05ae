"""A function as an estimator: in vmap, in studies, in exact enumeration; what goes wrong in it."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim import methods
from casim.bridge import Called, Function, Rows, Slime, Trainer, Verl, VerlAgent, trainer
from casim.bridge import arrays as edge
from casim.bridge.rows import present
from casim.estimators import Chain, OverLength
from casim.oracle.moments import by_reward, group_moments
from tests.bridge import functions
from tests.bridge.batches import nasty

KEY = jax.random.key(0)
GRPO = trainer(functions.grpo_verl, Verl())


def rows():
    with jax.enable_x64(True):
        return Rows.of({name: np.asarray(x) for name, x in present(nasty()).items()})


def ask(function, convention=None, watched=True):
    return Called(Function.of(function), convention or Verl())(rows(), watched)


def test_replicates_are_asked_one_by_one():
    """Whitening over a batch would couple replicates that were stacked."""
    batch = nasty()
    whitened = trainer(functions.rf_pp_verl, Verl())
    other = batch._replace(reward=3.0 * batch.reward.at[0, 1, 0].add(1.0))
    both = jax.tree.map(lambda *x: jnp.stack(x), batch, other)
    credit = jax.jit(jax.vmap(jax.vmap(lambda batch: whitened.credit(KEY, None, batch).value)))
    found = credit(jax.tree.map(lambda x: x[None], both))[0]
    for index, each in enumerate((batch, other)):
        alone = whitened.credit(KEY, None, each).value
        np.testing.assert_array_equal(found[index], alone)
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_equal_batches_of_a_chunk_are_asked_once():
    asked = []

    def counted(token_level_rewards, response_mask, **kwargs):
        asked.append(token_level_rewards)
        return token_level_rewards * response_mask, None

    batch = nasty()
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (7, *x.shape)), batch)
    jax.vmap(lambda batch: trainer(counted, Verl()).credit(KEY, None, batch).value)(many)
    assert len(asked) == 1


def test_exact_moments_are_those_of_the_method():
    """Both groups of a batch, so that what is normalised over it counts."""
    task = casim.VariableTurns(num_turns=3, stop_rewards=(0.25, 1.0, 0.5))
    mdp = task.build()
    policy = casim.Softmax(seed=1).table(mdp)
    function = trainer(functions.grpo_verl, Verl())
    found, wanted = (
        group_moments(mdp, policy, method, 2, by_reward, num_prompts=2)
        for method in (function, methods.GRPO_VERL)
    )
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-12)
    np.testing.assert_allclose(found.gradient_variance, wanted.gradient_variance, atol=1e-12)
    np.testing.assert_allclose(found.expectation, wanted.expectation, atol=1e-12)
    assert np.abs(wanted.gradient).max() > 0.01


@pytest.mark.slow
def test_a_study_measures_it_beside_the_method(unhooked, tmp_path):
    task = casim.Bifurcation(horizon=6, pivots=(2,))
    mine = Chain(GRPO, OverLength("own"))
    study = casim.Study(
        "mine",
        (task,),
        (mine, Chain(methods.GRPO_VERL.recipe, OverLength("own"))),
        replicates=20,
        controls=(),
    )
    found, wanted = study.run(tmp_path / "rows.jsonl")
    for name, score in wanted.scores.items():
        if name not in ("target_bias", "env_steps"):
            np.testing.assert_allclose(found.scores[name], score, rtol=1e-4, atol=1e-5)
    again, _ = casim.load(tmp_path / "rows.jsonl")
    assert casim.report.rebuild(again.estimator) == mine


def test_a_function_is_found_again_by_its_place(tmp_path):
    path = tmp_path / "mine_of_a_trainer.py"
    path.write_text("def advantage(token_level_rewards):\n    return token_level_rewards\n")
    found = Function(f"{path}:advantage")
    assert found.load()(3) == 3
    assert found == Function.of(f"{path}:advantage")
    assert found.name == "advantage"
    assert Function("tests.bridge.functions:grpo_verl").load() is functions.grpo_verl
    assert Function.of(functions.grpo_verl).digest != Function.of(functions.rloo_verl).digest


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("advantage", "'module:name' or 'file.py:name', got 'advantage'"),
        ("nowhere.py:advantage", "a file that exists, got nowhere.py"),
        ("no_such_module:advantage", "no_such_module must be importable"),
        ("tests.bridge.batches:advantage", "must hold advantage, got functions: nasty"),
        ("tests.bridge.batches:NUM", "must be a function, got int"),
    ],
)
def test_a_place_without_a_function_is_refused(place, message):
    with pytest.raises(ValueError, match=message):
        Function(place)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", "it raised IndexError: list index out of range"),
        ("mutates", "must not write into its arguments, and changed token_level_rewards"),
        ("too_short", r"must be \[bs, T\] = \(5, 5\), got \(5, 4\)"),
        ("gives_text", "must be an array of numbers, got str"),
        ("gives_nothing", "must be an array of numbers, got NoneType"),
        ("elsewhere", "must be where the rewards are, on cpu, got cuda:0"),
        ("wants_more", "wants ref_log_probs; verl 0.9.1 hands over config, gamma"),
    ],
)
def test_what_is_wrong_is_one_line(name, message):
    with pytest.raises(casim.bridge.FunctionError, match=message) as caught:
        ask(getattr(functions, name))
    assert "\n" not in str(caught.value)


def test_a_failure_inside_a_program_keeps_its_line():
    bad = trainer(functions.raises, Verl())
    with pytest.raises(jax.errors.JaxRuntimeError, match="it raised IndexError: list index"):
        jax.jit(lambda batch: bad.credit(KEY, None, batch).value)(nasty()).block_until_ready()


def test_slime_writes_what_it_is_meant_to_write_and_no_more():
    ask(functions.grpo_slime, Slime())

    def mutates(args, rollout_data):
        functions.grpo_slime(args, rollout_data)
        rollout_data["rewards"][0] = 7.0

    with pytest.raises(casim.bridge.FunctionError, match="changed rollout_data"):
        ask(mutates, Slime())


def test_settings_are_handed_over():
    centred = trainer(functions.grpo_verl, Verl(), norm_adv_by_std_in_grpo=False)
    value = centred.called(rows())[:, 0]
    outcome = rows().outcome
    np.testing.assert_allclose(value[:3], outcome[:3] - outcome[:3].mean(), atol=1e-12)


def test_wrong_settings_are_refused(unhooked):
    with pytest.raises(ValueError, match="arrays must be one of"):
        Trainer(Function.of(functions.grpo_verl), Verl(), arrays="jax")
    with pytest.raises(ValueError, match="function must be a Function"):
        Trainer(functions.grpo_verl, Verl())
    with pytest.raises(ValueError, match="convention must be a Convention"):
        Trainer(Function.of(functions.grpo_verl), Verl)
    with pytest.raises(ValueError, match=r"step_gamma must be in \[0.0, 1.0\], got 2"):
        VerlAgent(step_gamma=2.0)


class FakeTensor:
    """As much of a tensor as the edge touches."""

    def __init__(self, array):
        self.array, self.device = array, types.SimpleNamespace(type="cpu")

    def detach(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


def test_tensors_are_made_only_for_functions_that_want_them(monkeypatch):
    """A stand-in for PyTorch; `test_torch.py` has the real one where it is installed."""
    made = []

    def from_numpy(array):
        made.append(array)
        return FakeTensor(array)

    monkeypatch.setattr(edge, "_torch", lambda: types.SimpleNamespace(from_numpy=from_numpy))

    def wants(token_level_rewards: "torch.Tensor", index):
        assert isinstance(token_level_rewards, FakeTensor)
        assert isinstance(index, np.ndarray)
        return FakeTensor(2.0 * token_level_rewards.array), None

    assert edge.wanted_by(functions.grpo_verl) == "numpy"
    assert edge.wanted_by(wants) == "torch"
    np.testing.assert_array_equal(ask(wants, watched=False), 2 * rows().reward)
    assert len(made) == 1
    ask(functions.grpo_verl)
    assert len(made) == 1


def test_without_pytorch_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)

    def wants(token_level_rewards: "torch.Tensor"):
        return token_level_rewards

    with pytest.raises(ValueError, match=r"pip install 'casim\[torch\]'"):
        ask(wants)
