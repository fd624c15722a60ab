"""How a task is trained."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from ..methods import Phase, check_phases, epochs_of

DEFAULT_MOMENTUM = 0.9


class OptimizerSettings(BaseModel):
    """The optimiser of one group of parameters.

    Example:
        >>> OptimizerSettings(optimizer="sgd", lr=8e-3).momentum is None  # then 0.9
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(gt=0, allow_inf_nan=False, description="Learning rate at the schedule's top.")
    optimizer: Literal["adam", "adamw", "sgd", "adafactor"] = Field(default="adam", description="The algorithm.")
    weight_decay: float = Field(
        default=0.0, ge=0, lt=1, description="L2 penalty; decoupled from the gradient for adamw and adafactor."
    )
    momentum: float | None = Field(default=None, ge=0, lt=1, description="Of sgd only; null: 0.9.")

    @model_validator(mode="after")
    def _momentum_of_sgd(self) -> OptimizerSettings:
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError(f"momentum={self.momentum} has no meaning for {self.optimizer}; leave it out, or use sgd")
        return self

    def build(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser over these parameters, all of one device."""
        # One call for hundreds of small tensors; the loop over them costs six times as much on a CPU.
        fused = parameters[0].device.type in ("cpu", "cuda")
        if self.optimizer == "sgd":
            momentum = DEFAULT_MOMENTUM if self.momentum is None else self.momentum
            made = torch.optim.SGD(parameters, self.lr, momentum, weight_decay=self.weight_decay, fused=fused)
            for parameter in parameters if momentum else ():
                # As if made at the first step; torch's fused step fails if some parameters have theirs and some not.
                made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            return made
        if self.optimizer == "adafactor":
            # An ε₂ of 1 is what the literature calls no parameter scaling, as long as their mean square is below 1.
            return torch.optim.Adafactor(parameters, self.lr, eps=(None, 1.0), weight_decay=self.weight_decay)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, self.lr, weight_decay=self.weight_decay, fused=fused)


Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class Settings(BaseModel):
    """How a task is trained. Unknown keys are refused.

    A group of parameters (`factors`, `routing`, `norm`, `head`, …) that `optimizers` does not list trains with Adam at
    the rate that its tasks name (`Task.rates()`). These rates suit factorised updates; a full copy of the network
    (`FineTuning`) wants factors at 1e-3 or 2e-3. `lr="auto"` finds them by a range test before the first step.

    Example:
        >>> sgd = OptimizerSettings(optimizer="sgd", lr=8e-3)
        >>> paper = Settings(  # Garg et al., factorised tensor networks
        ...     optimizers={"factors": OptimizerSettings(lr=5e-3), "norm": sgd, "head": sgd},
        ... )
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=10, ge=1, description="Passes over the training data, each ended by a validation.")
    steps_per_epoch: int | None = Field(
        default=None, ge=1, description="Steps between validations; null: as many as the data make."
    )
    max_steps: int | None = Field(default=None, ge=1, description="Steps in all, instead of `epochs`.")
    batch_size: int = Field(
        default=32,
        ge=1,
        description="Inputs per step, over all processes together; two for each where BatchNorm trains on the batch.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the data's order, of augmentation and of dropout.")
    optimizers: dict[str, OptimizerSettings] = Field(
        default={}, description="By group of parameters; a group that is not listed has Adam at the task's rate."
    )
    lr: Literal["auto"] | None = Field(
        default=None,
        description="auto: a range test finds the rates of groups that `optimizers` does not list; null: the tasks'.",
    )
    phases: tuple[Phase, ...] | None = Field(
        default=None, min_length=1, description="Which groups train when; null: what the tasks' method says."
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Of the learning rates, per step."
    )
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="Fraction of all steps in which the learning rates rise."
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of all gradients together; null: any."
    )
    precision: Literal["no", "bf16", "fp16"] = Field(default="no", description="Mixed precision; fp16 needs a GPU.")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="In the training loss; never in validation.")
    class_weights: Literal["balanced"] | tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = Field(
        default=None,
        description="Of classes in the training loss: one number each, or balanced, which is N / (classes · images of "
        "the class); null: all weigh 1.",
    )
    balanced_sampling: bool = Field(
        default=False, description="An epoch has as many samples of each class; its length stays as it is."
    )
    mixup: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Mix training images and their losses in pairs, by a share from Beta(mixup, mixup); 0: do not.",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Paste a box of one training image into another, likewise; with both set a batch has one of them.",
    )
    patience: int | None = Field(
        default=None, ge=1, description="Stop after so many epochs without improvement; null: never."
    )
    folds: int | None = Field(
        default=None,
        ge=2,
        description="Cross-validation, of one task by itself: as many trainings as folds, each measured on the samples "
        "that it has not seen; then one on all, those of validation too. All epochs are gone through.",
    )
    select_by: str = Field(
        default="auto",
        description="What makes an epoch the best on validation: loss, or a score (accuracy, balanced_accuracy, "
        "macro_f1, or another that is measured), and the loss where scores are equal; last: the last epoch is. auto: "
        "accuracy, balanced_accuracy where classes are uneven, the loss where validation data are very few or there is "
        "no accuracy.",
    )
    reestimate_norm: bool = Field(
        default=True,
        description="At the end average BatchNorm statistics anew over training data; kept if validation agrees.",
    )
    norm_momentum: float | None = Field(
        default=0.1, gt=0, le=1, description="Of the tasks' BatchNorm statistics while training; null: the backbone's."
    )
    adapt_norm: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Of `adapted` BatchNorm statistics, the share of the task's data; the rest is what they were.",
    )
    cache_features: Literal["auto", "always", "never"] = Field(
        default="auto", description="Whether what frozen layers put out is kept; always: that it can't be is an error."
    )
    cache_views: int | None = Field(
        default=None,
        ge=1,
        description="Augmented views of each training sample, then the same again; null: new ones in every epoch.",
    )
    cache_memory: int = Field(default=2**29, ge=0, description="Bytes of memory for features, in each process.")
    cache_disk: int = Field(
        default=2**31, ge=0, description="Bytes for features in the run's folder, in each process; 0: memory alone."
    )
    workers: int = Field(default=0, ge=0, description="Loader processes; 0: the training process loads.")
    threads: PositiveInt | Literal["auto"] | None = Field(
        default=None, description="Torch's threads on a CPU; auto: the fastest, by measurement; null: as torch is set."
    )
    checkpoint_every: float = Field(default=30.0, ge=0, description="Seconds between checkpoints, at the least.")
    log_every: int = Field(default=10, ge=1, description="Steps between log lines; checkpoints fall on these steps.")
    log_with: Tracker | tuple[Tracker, ...] = Field(
        default=(), description="Who else gets the numbers of the log: trackers of Accelerate's, one or several."
    )

    @field_validator("lr", mode="before")
    @classmethod
    def _rates_are_of_groups(cls, lr: object) -> object:
        if isinstance(lr, int | float):
            raise ValueError(f"must be auto, found {lr!r}; the rate of a group: optimizers: {{head: {{lr: {lr!r}}}}}")
        return lr

    @field_validator("class_weights")
    @classmethod
    def _a_class_counts(cls, weights: object) -> object:
        if isinstance(weights, tuple) and not any(weights):
            raise ValueError(f"must have a number above 0, found {list(weights)}; a class of weight 0 is not learned")
        return weights

    @field_validator("precision")
    @classmethod
    def _fp16_needs_a_gpu(cls, precision: str) -> str:
        if precision == "fp16" and not torch.cuda.is_available():
            raise ValueError("fp16 needs a GPU and there is none; use 'bf16' or 'no'")
        return precision

    @model_validator(mode="after")
    def _phases_fit(self) -> Settings:
        check_phases(self.phases or ())
        if self.phases is not None and self.max_steps is None:
            epochs_of(self.phases, self.epochs)
        return self

    @model_validator(mode="after")
    def _all_epochs(self) -> Settings:
        if self.select_by == "last" and self.patience is not None:
            raise ValueError(
                f"patience={self.patience} has no meaning for select_by='last', by which every epoch is better; leave "
                "one of them out"
            )
        for key, usual in {"select_by": ("auto", "last"), "patience": (None,)}.items():
            if self.folds is not None and (found := getattr(self, key)) not in usual:
                raise ValueError(
                    f"{key}={found!r} does not go with folds={self.folds}: nothing is chosen on samples that are held "
                    f"out, so that all epochs are gone through; leave {key} out"
                )
        return self

    @classmethod
    def unseen(cls) -> frozenset[str]:
        """The settings that no result depends on, but for how sums are rounded."""
        kept = {"cache_features", "cache_memory", "cache_disk"}
        return frozenset({"workers", "threads", "checkpoint_every", "log_every", "log_with", *kept})

    def only(self, groups: Collection[str]) -> Self:
        """The same without the optimisers of any other groups: for tasks that do not have all that are listed.

        Example:
            >>> slow = OptimizerSettings(lr=1e-4)
            >>> settings = Settings(optimizers={"factors": slow, "head": slow})
            >>> [*settings.only({"head", "norm"}).optimizers]
            ['head']
        """
        kept = {group: one for group, one in self.optimizers.items() if group in groups}
        return self.model_copy(update={"optimizers": kept})
