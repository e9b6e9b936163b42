"""Formulas that columns are computed by, for people to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aecompress.codec.model import Model
from aecompress.context.relations import CURVE, FORM, NONE, SIGNED, Formula
from aecompress.context.sample import FRACTION
from aecompress.spec import Array


def formulas(model: Model, names: Sequence[str] = ()) -> dict[str, str]:
    """What the model expects columns by: their names, and formulas in the units of the values.

    Args:
        names: of the entries of the last axis; their numbers if there are none.

    Factors have three figures. They are left out where cells differ in more than their width.
    """
    coder = model.context
    if coder is None or coder.relations is None or model.turned or model.view:
        return {}
    found = coder.relations.formulas
    known = list(names) if len(names) == len(found) else [str(c) for c in range(len(found))]
    widths = _widths(model, len(found))
    return {known[c]: _text(formula, c, known, widths) for c, formula in enumerate(found) if formula.kind != NONE}


def _widths(model: Model, columns: int) -> Array | None:
    """float64 [C + 1], the width of the cells of each column, and 1; None where that is not all there is to them."""
    cells = model.cells
    if cells.kind not in ("real", "whole") or cells.step is None or cells.phase is not None:
        return None
    if cells.axis not in (None, len(model.spec.row_shape)):
        return None
    return np.append(np.broadcast_to(np.asarray(cells.step, np.float64), columns), 1.0)


def _text(formula: Formula, c: int, names: list[str], widths: Array | None) -> str:
    columns = len(names)
    if formula.kind == CURVE:
        i, j, _ = formula.terms[0]
        over = names[i] if j == columns else f"{names[i]} : {names[j]}"
        return f"a curve of {over} with {len(formula.heights) - 1:,} knots"
    squared = formula.kind != FORM
    if widths is None:
        parts = " + ".join(dict.fromkeys(_product(i, j, names) or "1" for i, j, _ in formula.terms))
        return f"the root of a sum of {parts}" if squared else f"a sum of {parts}"
    of_sum = widths[c] ** (1 + squared) / 2.0 ** (formula.down + (1 + squared) * FRACTION)
    factors = [factor * of_sum / (widths[i] * widths[j]) for i, j, factor in formula.terms]
    text = _sum(factors, [_product(i, j, names) for i, j, _ in formula.terms])
    return ("±" if formula.kind == SIGNED else "") + (f"√({text})" if squared else text)


def _product(i: int, j: int, names: list[str]) -> str:
    """The product of two columns; nothing if both are 1."""
    known = [names[k] if names[k][:1].isalpha() else f"[{names[k]}]" for k in (i, j) if k < len(names)]
    return f"{known[0]}²" if i == j and known else "·".join(known)


def _sum(factors: Sequence[float], products: Sequence[str]) -> str:
    text = ""
    for factor, product in zip(factors, products, strict=True):
        size = f"{abs(factor):.3g}"
        shown = product if product and size == "1" else f"{size} {product}".rstrip()
        sign = "-" if factor < 0 else "+"
        text += f" {sign} {shown}" if text else f"{'-' if factor < 0 else ''}{shown}"
    return text
