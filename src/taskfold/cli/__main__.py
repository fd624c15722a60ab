"""`python -m taskfold.cli`, the same as `taskfold`."""

from . import app

app(prog_name="taskfold")
