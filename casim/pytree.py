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
    data, static = [], []
    for field in fields:
        is_static = field.metadata.get("static")
        names = static if is_static else data
        names.append(field.name)
    names = (*data, *static)
    keys = [jax.tree_util.GetAttrKey(name) for name in data]

    def flatten(tree):
        children = [getattr(tree, name) for name in data]
        values = [getattr(tree, name) for name in static]
        keyed = zip(keys, children, strict=True)
        return list(keyed), tuple(values)

    def unflatten(values, children):
        tree = object.__new__(cls)
        given = (*children, *values)
        for name, value in zip(names, given, strict=True):
            object.__setattr__(tree, name, value)
        return tree

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls
