"""TensorPoly-I at other tensor ranks and orders and with product normalisation; Poly transferred with T-Few's losses.

    OMP_NUM_THREADS=1 python experiments/routing_variants.py    # start it twice to use two cores

One seed, 32 examples; everything else is as in routing.py, and `routing_table.py` draws it.
"""

from __future__ import annotations

from dataclasses import replace

from routing_runs import PLAN, bench, run

from taskfold import TensorPolyI
from taskfold.text import Objective
from taskfold_demos.jobs import Way, contenders

SIZES = [(R, 2) for R in (2, 4, 16)] + [(8, N) for N in (1, 3, 4)]
NORMALISED = (5e-3, 2e-2, 5e-2)

plain = bench(replace(PLAN, shots=(32,)))
base, poly = contenders()["TensorPoly-I"], contenders()["Poly"]
method = base.method
assert isinstance(method, TensorPolyI)
for R, N in SIZES:
    sized = replace(method, tensor_rank=R, order=N)
    ways = {way: base.ways[way] for way in ("all", "z")}
    run(plain, replace(base, label=f"TensorPoly-I R={R} N={N}", method=sized, ways=ways), 0, study="size")
for lr in NORMALISED:
    label = f"TensorPoly-I, products normalised, {lr:g}"
    ways: dict[Way, tuple[float, float]] = {"all": (lr / 5, 1.0)}  # as much smaller as without normalisation
    normalised = replace(base, label=label, method=replace(method, product_norm=True), lr=lr, ways=ways)
    run(plain, normalised, 0, study="variant")
several = plain.changed(losses=Objective())
run(several, replace(poly, label="Poly, three losses"), 0, study="variant")
