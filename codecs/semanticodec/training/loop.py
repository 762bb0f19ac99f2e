"""The one training loop: every stage is a ``Task``, everything else happens here.

A run is a function of its configuration: the data of a step, its random numbers and its learning
rate depend on the step alone, so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from semanticodec import audio
from semanticodec.training import data, files
from semanticodec.training.settings import StageConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

HOP = 160  # samples per frame
Array = npt.NDArray[Any]
Batch = Tensor | dict[str, Tensor]


class Reader(Protocol):
    """Where batches come from."""

    def batch(self, step: int) -> Array | dict[str, Array]:
        """Return the batch of a step, the same for the same step."""
        ...


class Task(nn.Module):
    """What a stage trains: its network, its losses, its validation.

    ``forward`` returns named scalars; ``"loss"`` is minimised, the others are logged.
    """

    extra_samples = 0  # behind the frames of a segment
    frozen: tuple[str, ...] = ()  # prefixes of what comes from earlier stages: not in checkpoints

    def forward(self, batch: Any, phase: str) -> dict[str, Tensor]:
        """Return the losses of a batch, which is of the kind that ``reader`` gives."""
        raise NotImplementedError

    def phases(self, step: int) -> tuple[str, ...]:
        """Name the optimiser steps of one training step, such as those of the two GAN players."""
        return ("main",)

    def phase_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return what each phase trains."""
        return {"main": [p for p in self.parameters() if p.requires_grad]}

    def start(self, batches: Iterator[Any]) -> None:
        """Fit what is fitted rather than trained, before the first step."""

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Start from the weights that ``export`` gave, in place of ``start``."""
        raise NotImplementedError

    def finish(self, batches: Iterator[Any]) -> None:
        """Fit what is fitted after the last step, under averaged weights."""

    def reader(self, config: StageConfig, cache: data.AudioCache, rank: int, world: int) -> Reader:
        """Return where the batches come from: by default waves ``[B, N]`` of the audio cache."""
        order = data.SegmentOrder(
            cache.split("train"),
            config.data.segment_frames * HOP + self.extra_samples,
            config.data.domain_weights,
            config.data.gain_db,
            config.seed,
        )
        return data.BatchReader(cache, order, config.optim.batch_size, rank, world)

    def after_step(self, step: int) -> None:
        """Update what has rules of its own, such as codebooks."""

    def validate(self, waves: Tensor) -> dict[str, float]:
        """Return metrics of validation waves ``[B, N]``, under averaged weights."""
        raise NotImplementedError

    def sounds(self, waves: Tensor) -> dict[str, Tensor]:
        """Return waves ``[n]`` by name, to listen to, made from validation waves ``[B, N]``."""
        return {}

    def sizes(self) -> dict[str, Any]:
        """Return what is needed beside the weights to build the network again."""
        return {}

    def export(self) -> dict[str, Tensor]:
        """Return the weights that later stages and the codec need."""
        raise NotImplementedError


class Average:
    """Exponential moving average of the trained parameters, with a ramp at the start."""

    def __init__(self, task: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {n: p for n, p in task.named_parameters() if p.requires_grad}
        self.values = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        names = list(self.values)
        torch._foreach_lerp_(
            [self.values[name] for name in names],
            [self.parameters[name].detach() for name in names],
            1 - decay,
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the parameters for a while."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._copy(self.values)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])


def step_seed(seed: int, step: int, rank: int) -> int:
    """Mix the seed of all random numbers of one step of one process."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


class Trainer:
    """Runs a task: batches, steps, averages, checkpoints, log."""

    def __init__(
        self,
        task: Task,
        config: StageConfig,
        cache: data.AudioCache,
        folder: Path,
        accelerator: Accelerator | None = None,
        init: Path | None = None,
    ) -> None:
        self.config = config
        self.init = init  # weights to start from, if there is no checkpoint
        self.folder = folder
        self.accelerator = accelerator or make_accelerator(config)
        self.task = task.to(self.accelerator.device)
        self.reader = task.reader(
            config, cache, self.accelerator.process_index, self.accelerator.num_processes
        )
        self.waves = torch.from_numpy(
            data.validation_waves(
                cache,
                config.data.validation_frames * HOP + task.extra_samples,
                config.data.validation_per_domain,
            )
        )
        folder.mkdir(parents=True, exist_ok=True)
        board = folder / "tensorboard" if config.tensorboard else None
        self.log = files.RunLog(folder / "log.jsonl", board)
        self.step = 0
        self.seconds = 0.0  # of training, over all runs
        self.cpu_seconds = 0.0  # of this process: what counts on a shared machine

    # ---- state

    def _prepare(self) -> None:
        """Start afresh or from the checkpoint, then hand the parts to accelerate."""
        state = files.load_checkpoint(self.folder / "checkpoint.pt")
        if state is None:
            torch.manual_seed(self.config.seed)
            if self.init is not None:
                self.task.take(files.load_weights(self.init)[0])
            else:
                self.task.start(self._endless())
        else:
            self._load_task(state["task"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.cpu_seconds = state["cpu_seconds"]
        self.average = Average(self.task, self.config.optim.ema_decay)
        optim = self.config.optim
        self.optimizers = {
            phase: torch.optim.AdamW(
                parameters, lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay
            )
            for phase, parameters in self.task.phase_parameters().items()
        }
        if state is not None:
            for name, value in state["average"].items():
                self.average.values[name].copy_(value)
            for phase, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][phase])
        if self.accelerator.is_main_process:
            self.log.rewind(self.step)
        self.model = self.accelerator.prepare_model(self.task)

    def _own(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out what earlier stages made."""
        frozen = self.task.frozen
        return {name: value for name, value in tensors.items() if not name.startswith(frozen)}

    def _load_task(self, tensors: Mapping[str, Tensor]) -> None:
        missing, unknown = self.task.load_state_dict(self._own(tensors), strict=False)
        missing = [name for name in missing if not name.startswith(self.task.frozen)]
        if missing or unknown:
            raise ValueError(
                f"the checkpoint in {self.folder} is of another configuration: "
                f"missing {missing[:3]}, unknown {unknown[:3]}"
            )

    def _endless(self) -> Iterator[Any]:
        step = 0
        while True:
            yield self._batch(step)
            step += 1

    def _batch(self, number: int) -> Batch:
        drawn, device = self.reader.batch(number), self.accelerator.device
        if isinstance(drawn, dict):
            return {name: torch.from_numpy(value).to(device) for name, value in drawn.items()}
        return torch.from_numpy(drawn).to(device)

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "task": self._own(self.task.state_dict()),
            "average": self.average.values,
            "optimizers": {name: own.state_dict() for name, own in self.optimizers.items()},
        }
        files.save_checkpoint(state, self.folder / "checkpoint.pt")

    def _conclude(self) -> None:
        """Write checkpoint and weights; the checkpoint knows nothing of the task's ``finish``."""
        self.save()
        with self.average.applied(), torch.no_grad():
            self.task.eval()
            self.task.finish(self._endless())
            values = self.validate()
            if self.accelerator.is_main_process:
                metadata = {
                    "config": self.config.to_dict(),
                    "sizes": self.task.sizes(),
                    "step": self.step,
                    "minutes": round(self.seconds / 60, 2),
                    "cpu_minutes": round(self.cpu_seconds / 60, 2),
                    "validation": {name: float(f"{v:.5g}") for name, v in values.items()},
                }
                path = self.folder / "weights.safetensors"
                files.save_weights(self.task.export(), path, metadata)

    # ---- running

    def run(self, max_minutes: float = math.inf, max_steps: int | None = None) -> dict[str, float]:
        """Train until the last step or the end of the time; return the last losses."""
        self._prepare()
        config, started = self.config, time.monotonic()
        last_step = config.optim.total_steps if max_steps is None else max_steps
        saved, before, losses = started, started, {}
        cpu_before = time.process_time()
        while self.step < last_step and time.monotonic() - started < 60 * max_minutes:
            losses = self._train_step()
            self.step += 1
            now = time.monotonic()
            self.seconds, before = self.seconds + now - before, now
            cpu_now = time.process_time()
            self.cpu_seconds, cpu_before = self.cpu_seconds + cpu_now - cpu_before, cpu_now
            if self.step % config.log_every == 0 or self.step == last_step:
                self._report(losses, now - started)
            if self.step % config.validate_every == 0:
                self.validate()
            if now - saved > 60 * config.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        self._conclude()
        return losses

    def _train_step(self) -> dict[str, float]:
        optim = self.config.optim
        rank = self.accelerator.process_index
        torch.manual_seed(step_seed(self.config.seed, self.step, rank))
        self.model.train()
        losses: dict[str, float] = {}
        batches = [
            self._batch(self.step * optim.accumulate + part) for part in range(optim.accumulate)
        ]
        for phase in self.task.phases(self.step):
            losses |= self._phase_step(phase, batches)
        self.task.after_step(self.step)
        self.average.update(self.step)
        return losses

    def _phase_step(self, phase: str, batches: Iterable[Batch]) -> dict[str, float]:
        optim = self.config.optim
        optimizer = self.optimizers[phase]
        for group in optimizer.param_groups:
            group["lr"] = optim.lr * optim.lr_factor(self.step)
        optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for wave in batches:
            with self.accelerator.autocast():
                losses = self.model(wave, phase)
            self.accelerator.backward(losses["loss"] / optim.accumulate)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / optim.accumulate
        if not math.isfinite(sums["loss"]):
            raise FloatingPointError(f"the loss is {sums['loss']} at step {self.step}: {sums}")
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, optim.clip_norm)
        optimizer.step()
        named = {f"{phase}/{name}" if phase != "main" else name: v for name, v in sums.items()}
        return named | {f"{phase}/norm" if phase != "main" else "norm": float(norm)}

    def _report(self, losses: Mapping[str, float], elapsed: float) -> None:
        if not self.accelerator.is_main_process:
            return
        minutes = self.seconds / 60
        rounded = {name: float(f"{value:.5g}") for name, value in losses.items()}
        self.log.write(step=self.step, minutes=round(minutes, 3), **rounded)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in rounded.items())
        log.info("step %d  %.1f min  %s", self.step, minutes, shown)

    def _write_sounds(self) -> None:
        for name, wave in self.task.sounds(self.waves.to(self.accelerator.device)).items():
            (self.folder / "audio").mkdir(exist_ok=True)
            samples = wave.detach().float().cpu().clamp(-1.0, 1.0).numpy()
            audio.write(self.folder / "audio" / f"{name}.wav", samples[None], data.SAMPLE_RATE)

    def validate(self) -> dict[str, float]:
        """Measure the averaged weights on the validation waves; log the result."""
        if not self.accelerator.is_main_process:
            return {}
        self.task.eval()
        with self.average.applied(), torch.no_grad():
            torch.manual_seed(self.config.seed)
            values = self.task.validate(self.waves.to(self.accelerator.device))
            self._write_sounds()
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        self.log.write(step=self.step, minutes=round(self.seconds / 60, 3), validation=rounded)
        log.info("step %d  validation %s", self.step, rounded)
        return values


def make_accelerator(config: StageConfig) -> Accelerator:
    """Return the engine of one or many processes, on whatever device there is.

    Raises:
        ModuleNotFoundError: If accelerate is not installed.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'training needs accelerate: pip install "codecbench[train]"'
        ) from None
    mixed = {"float32": "no", "bfloat16": "bf16"}[config.optim.precision]
    options: list[Any] = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    return Accelerator(mixed_precision=mixed, kwargs_handlers=options)
