"""What the matrix products of a traced program multiply."""

from collections.abc import Iterator
from typing import Any

import jax


def of_products(function: Any, *args: Any) -> set[tuple[str, str, str]]:
    """The types of both operands and of the result of every product, wherever it is called."""
    return {
        (*(each.aval.dtype.name for each in equation.invars), equation.outvars[0].aval.dtype.name)
        for equation in _equations(jax.make_jaxpr(function)(*args).jaxpr)
        if equation.primitive.name == "dot_general"
    }


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)
