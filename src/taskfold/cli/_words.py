"""Python's errors in the words of the command line."""

from __future__ import annotations

_REMEDIES = {
    "load its file first: model.load_inventory(…)": "give the file that it was trained on with --inventory FILE",
    "load it into a model with its own": "give the file that it was trained on with --inventory FILE",
    "load it into a model of its own": "use it in a command of its own",
    "use a model of its own": "use it in a command of its own",
    "load it with model.load_inventory": "give it with --inventory, and task files without an option",
    "load it with model.load_task": "give it without --inventory, as a task file",
    "give the module to load it into: load_task(…, head=…)": "it can be used from Python: load_task(…, head=…)",
    "train tasks together first, or load their inventory: model.load_inventory(…)": (
        "leave the settings that choose layers as they were in the joint training"
    ),
    "transfer_task(…, allocation='sigmoid')": "method: {allocation: sigmoid}",
    "transfer_task(…, sharing={'name': …, 'allocation': 'sigmoid'})": (
        "method: {sharing: {name: …, allocation: sigmoid}}"
    ),
    "say so (head='classifier'), or fold the task": "say so with --head classifier, or export without --to peft",
    "load some, or choose begin='even'": "choose begin: even",
}


def in_words(error: Exception) -> str:
    """An error with remedies for the command line; an OSError as file and reason."""
    message = str(error)
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        message = ": ".join([*names[:1], f"{error.strerror[0].lower()}{error.strerror[1:]}", *names[1:]])
    for theirs, ours in _REMEDIES.items():
        message = message.replace(theirs, ours)
    return message
