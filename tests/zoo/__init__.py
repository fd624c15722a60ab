"""The laws of tasks on other people's networks: `python -m tests.zoo`."""
