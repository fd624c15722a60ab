"""What demonstrates Taskfold: `taskfold demo`, and the rendered rooms, words and weights that it stands on.

- `taskfold_demos.jobs`: the demonstrations, their plans and what they measure
- `taskfold_demos.figures`: the papers' figures, which reports show
- `taskfold_demos.rooms`: furnished rooms with depth, classes, normals and instances, rendered with pybullet
- `taskfold_demos.lemmas`: words of many languages as tasks, from simplemma's dictionaries
- `taskfold_demos.lemma_t5`: the byte-level T5 that lemmatises, `packaged:lemma-t5`
"""
