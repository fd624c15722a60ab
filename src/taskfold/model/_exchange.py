"""Tasks from and to other libraries' formats."""

from __future__ import annotations

from pathlib import Path

from ..peft import read_adapter, write_adapter
from ..tasks import Task, check_free
from ._collection import TaskCollection


class Exchange(TaskCollection):
    """Tasks that come from elsewhere, or go there."""

    def load_peft(self, folder: str | Path, *, name: str | None = None) -> Task:
        """Add a task from an adapter that PEFT saved; it answers as `PeftModel` does. PEFT need not be installed.

        LORA (with DoRA), IA3, LN_TUNING, LOHA, LOKR, VERA, PROMPT_TUNING and PREFIX_TUNING, and whole modules that were
        saved beside them. On any error the model stays as it was.

        Args:
            folder: with `adapter_config.json` and `adapter_model.safetensors`.
            name: of the task; default: the folder's.

        Raises:
            FileNotFoundError: there is no adapter.
            AdapterError: it is damaged, of another backbone, or does what no method of Taskfold's does.
            ValueError: the name is taken or not allowed.
        """
        folder = Path(folder)
        chosen = check_free(
            name or folder.resolve().name, self.tasks, "load it under another name: load_peft(…, name=…)"
        )
        adapter, known = read_adapter(folder, self.backbone), set(self.inventory)
        task = self.add_task(chosen, method=adapter.method)
        try:
            adapter.fill(task)
        except Exception:
            self._withdraw(chosen, known)
            raise
        return task

    def save_peft(self, name: str, folder: str | Path, *, head: str | None = None) -> Path:
        """Write a task as an adapter of PEFT's, LORA, which `PeftModel.from_pretrained` loads without Taskfold.

        What stands beside layers is a LoRA of the same rank: LoRA itself, FTN, routed and entangled methods as they are
        in evaluation. DoRA stays DoRA. Own normalisation, a head and other tensors of the task's own go into
        `modules_to_save`, running statistics with them.

        Args:
            name: the task.
            folder: a new one, or an empty one; it is returned.
            head: the name that the task's head has in the network that the adapter is for; default: timm's.

        Raises:
            ValueError: there is no such task, the folder holds something, or PEFT can't hold what the task does at a
                layer, which is named.
            FileNotFoundError: the folder's own folder does not exist.
        """
        return write_adapter(self[name], self.backbone, Path(folder), head)
