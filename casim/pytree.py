"""Frozen dataclasses as JAX pytrees, for data that also needs static fields."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import jax

T = TypeVar("T", bound=type)


def pytree(cls: T) -> T:
    """Registers a frozen dataclass as a pytree.

    Fields with `metadata={"static": True}` are part of its structure.

    JAX rebuilds it without `__init__`, because it also fills it with placeholders that are no
    arrays, which a run-time type checker of `__init__` would refuse.
    """
    fields = dataclasses.fields(cls)
    data = [field.name for field in fields if not field.metadata.get("static")]
    static = [field.name for field in fields if field.metadata.get("static")]

    def flatten(tree):
        children = [(jax.tree_util.GetAttrKey(name), getattr(tree, name)) for name in data]
        return children, tuple(getattr(tree, name) for name in static)

    def unflatten(values, children):
        tree = object.__new__(cls)
        for name, value in zip((*data, *static), (*children, *values), strict=True):
            object.__setattr__(tree, name, value)
        return tree

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls
