"""`python -m taskfold` is `taskfold`."""

from .cli import app

app(prog_name="taskfold")
