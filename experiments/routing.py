"""Seven ways to share what 30 languages have in common, and what they are worth to a language that is new.

    OMP_NUM_THREADS=1 python experiments/routing.py                   # start it twice to use two cores
    python experiments/routing.py --seeds 0 --only Poly TensorPoly-I  # a part of it

The byte-level T5 `packaged:lemma-t5` stays frozen. Each method trains on 30 languages together (lemmatisation, loss of
the target alone), then learns six held-out languages from 32 and from 128 words each: all of them in one batch, where
each has parameters of its own. Checkpoints are chosen on validation words; the tables are of test words.

Every training leaves its own file in runs/routing and is begun by whichever process comes first; what failed says why.
`routing_table.py` joins them.
"""

from __future__ import annotations

import argparse

from routing_runs import baselines, bench, run

from taskfold_demos.jobs import contenders

parser = argparse.ArgumentParser()
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
parser.add_argument("--only", nargs="+", metavar="METHOD", default=list(contenders()), choices=list(contenders()))
asked = parser.parse_args()

words = bench()
baselines(words)
for seed in asked.seeds:
    for label in asked.only:
        run(words, contenders()[label], seed)
