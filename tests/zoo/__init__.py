"""The laws of tasks on networks of other people: `python -m tests.zoo`."""
