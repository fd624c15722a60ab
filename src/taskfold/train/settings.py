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

    lr: float = Field(gt=0, allow_inf_nan=False, description="Peak learning rate.")
    optimizer: Literal["adam", "adamw", "sgd", "adafactor"] = Field(default="adam", description="The algorithm.")
    weight_decay: float = Field(
        default=0.0, ge=0, lt=1, description="L2 penalty; decoupled from the gradient for adamw and adafactor."
    )
    momentum: float | None = Field(default=None, ge=0, lt=1, description="Momentum, of sgd only; null: 0.9.")

    @model_validator(mode="after")
    def _momentum_of_sgd(self) -> OptimizerSettings:
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError(f"momentum={self.momentum} has no meaning for {self.optimizer}; leave it out, or use sgd")
        return self

    def build(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser over these parameters, all on one device."""
        # The fused step is one call for hundreds of small tensors; a loop takes six times as long on a CPU.
        fused = parameters[0].device.type in ("cpu", "cuda")
        if self.optimizer == "sgd":
            momentum = DEFAULT_MOMENTUM if self.momentum is None else self.momentum
            made = torch.optim.SGD(parameters, self.lr, momentum, weight_decay=self.weight_decay, fused=fused)
            for parameter in parameters if momentum else ():
                # Made before the first step, since torch's fused step fails if only some parameters have one.
                made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            return made
        if self.optimizer == "adafactor":
            # ε₂ = 1 switches parameter scaling off, as long as the parameters' mean square is below 1.
            return torch.optim.Adafactor(parameters, self.lr, eps=(None, 1.0), weight_decay=self.weight_decay)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, self.lr, weight_decay=self.weight_decay, fused=fused)


Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class Settings(BaseModel):
    """The settings of a training. Unknown keys are refused.

    Groups of parameters (`factors`, `routing`, `norm`, `head`, …) that `optimizers` does not list train with Adam at
    the rates that their tasks name (`Task.rates()`). These rates suit factorised updates; a full copy of the network
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
        default=None, ge=1, description="Steps between validations; null: one pass over the data."
    )
    max_steps: int | None = Field(default=None, ge=1, description="Number of steps, instead of `epochs`.")
    batch_size: int = Field(
        default=32,
        ge=1,
        description="Inputs per step, over all processes together; at least two for each if BatchNorm trains.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of the data's order, augmentation and dropout.")
    optimizers: dict[str, OptimizerSettings] = Field(
        default={}, description="Optimisers by group of parameters; other groups: Adam at the task's rate."
    )
    lr: Literal["auto"] | None = Field(
        default=None,
        description="auto: a range test finds rates of groups outside `optimizers`; null: the tasks' rates.",
    )
    phases: tuple[Phase, ...] | None = Field(
        default=None, min_length=1, description="Which groups train when; null: the tasks' method decides."
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Schedule of the learning rates, per step."
    )
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="Fraction of all steps in which the learning rates rise."
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of all gradients together; null: no limit."
    )
    precision: Literal["no", "bf16", "fp16"] = Field(default="no", description="Mixed precision; fp16 needs a GPU.")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the training loss only.")
    class_weights: Literal["balanced"] | tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = Field(
        default=None,
        description="Weights of classes in the training loss: one each in the order of labels, or balanced: N / "
        "(classes · images of the class); null: 1.",
    )
    balanced_sampling: bool = Field(
        default=False, description="Equally many samples of each class in an epoch, of unchanged length."
    )
    mixup: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Mix pairs of training images and their losses, with a share from Beta(mixup, mixup); 0: off.",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Paste a box of one training image into another, likewise; with both, each batch gets one of them.",
    )
    patience: int | None = Field(
        default=None, ge=1, description="Epochs without improvement before the training stops; null: never."
    )
    folds: int | None = Field(
        default=None,
        ge=2,
        description="Number of folds for cross-validation of one task by itself: a training for each fold, measured on "
        "the held-out samples, then one on all samples, validation included. All of them run all epochs.",
    )
    select_by: str = Field(
        default="auto",
        description="The validation measure that selects the best epoch: loss, or a score (accuracy, "
        "balanced_accuracy, macro_f1, r2, kappa, or another that the task has), with the loss for equal scores; last: "
        "the last epoch. auto: accuracy, balanced_accuracy for uneven classes, the loss for few validation samples or "
        "without accuracy.",
    )
    reestimate_norm: bool = Field(
        default=True,
        description="Re-estimate BatchNorm statistics on training data at the end; kept if validation agrees.",
    )
    norm_momentum: float | None = Field(
        default=0.1, gt=0, le=1, description="Momentum of tasks' BatchNorm statistics; null: the backbone's."
    )
    adapt_norm: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Weight of the task's data in `adapted` BatchNorm statistics; the rest is the old value.",
    )
    cache_features: Literal["auto", "always", "never"] = Field(
        default="auto", description="Cache the outputs of frozen layers; always: refuse a training that cannot."
    )
    cache_views: int | None = Field(
        default=None,
        ge=1,
        description="Number of augmented views of each training sample; null: new ones in every epoch.",
    )
    cache_memory: int = Field(default=2**29, ge=0, description="Bytes of memory for cached features, in each process.")
    cache_disk: int = Field(
        default=2**31, ge=0, description="Bytes of cached features in the run's folder, in each process; 0: none."
    )
    workers: int = Field(default=0, ge=0, description="Loader processes; 0: the training process loads.")
    threads: PositiveInt | Literal["auto"] | None = Field(
        default=None, description="Torch's threads on a CPU; auto: the fastest measured; null: Torch's setting."
    )
    checkpoint_every: float = Field(default=30.0, ge=0, description="Least number of seconds between checkpoints.")
    log_every: int = Field(default=10, ge=1, description="Steps between log lines; checkpoints fall on these steps.")
    log_with: Tracker | tuple[Tracker, ...] = Field(
        default=(), description="Accelerate's trackers that also get the log's numbers, one or several."
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
        """The settings that do not affect results except by rounding of sums."""
        kept = {"cache_features", "cache_memory", "cache_disk"}
        return frozenset({"workers", "threads", "checkpoint_every", "log_every", "log_with", *kept})

    def only(self, groups: Collection[str], idle: Collection[str] = ()) -> Self:
        """These settings with the optimisers of these groups only, for tasks without the other groups.

        Settings named in `idle` get their defaults (`idle_settings`).

        Example:
            >>> slow = OptimizerSettings(lr=1e-4)
            >>> settings = Settings(optimizers={"factors": slow, "head": slow})
            >>> [*settings.only({"head", "norm"}).optimizers]
            ['head']
        """
        kept = {group: one for group, one in self.optimizers.items() if group in groups}
        usual = {key: type(self).model_fields[key].default for key in idle}
        return self.model_copy(update={"optimizers": kept, **usual})
