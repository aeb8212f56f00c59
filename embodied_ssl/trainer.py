"""The trainer: one loop for every method.

Read `Trainer.run_stage` first; it is the loop. A run is a pure function of its config: every random draw is keyed by the
seed and the step, so worker count and interruptions change nothing, and a resumed run ends with the same bits (on the
CPU; on a GPU with ``deterministic``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embodied_ssl import checkpoint as checkpoints
from embodied_ssl import collapse, distributed, held_out
from embodied_ssl.config import Run, to_json
from embodied_ssl.core import Batch, Epoch, Learner, Method, Plan, Step
from embodied_ssl.datasets.source import Source
from embodied_ssl.distributed import Ranks, use_bf16
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.targets import open_target
from embodied_ssl.files import write_json
from embodied_ssl.gradients import COMMON, backward, only
from embodied_ssl.keys import generator, torch_seed
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.optim import parameter_groups
from embodied_ssl.progress import Progress, Silent
from embodied_ssl.runlog import RunLog
from embodied_ssl.start import Options, State, Stopped, open_sources, starting_point, stop_signals

DEFAULTS = Options()


def pretrain(stages: Sequence[Run], out: Path, options: Options = DEFAULTS, progress: Progress | None = None) -> Path:
    """Train all stages into a run folder; each stage starts from the last one's weights.

    Returns:
        The run folder, with ``backbone/`` exported.

    Raises:
        UserError: anything the user can mend; config and data fields are checked before any data is decoded.
        Stopped: ended early, with a checkpoint written.
    """
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS wants before it promises the same bits
        torch.use_deterministic_algorithms(True)
    with distributed.ranks(options.device) as here, stop_signals() as asked_to_stop:
        config = to_json(list(stages))
        state = starting_point(out, config, options, here)
        weights: Mapping[str, Tensor] = {}
        for number in range(state.stage, len(stages)):
            trainer = Trainer(stages[number], number, out, config, options, here, progress or Silent(), asked_to_stop)
            trainer.load(state if number == state.stage else State(number), weights)
            if here.is_main:  # not before: a run that is refused leaves nothing behind
                write_json(out / "config.json", config)
            trainer.run_stage()
            weights = {name: tensor.detach().clone() for name, tensor in trainer.learner.state_dict().items()}
    return out


class Trainer:
    """One stage of a run, built and ready: learner, optimiser, feeds.

    Raises:
        UserError: the backbone or the data does not offer what the method needs.
    """

    def __init__(
        self,
        run: Run,
        stage: int,
        out: Path,
        config: Any,
        options: Options,
        here: Ranks,
        progress: Progress,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.run, self.stage, self.out, self.config, self.here = run, stage, out, config, here
        self.options, self.progress, self.asked_to_stop = options, progress, asked_to_stop
        self.step = 0
        torch.manual_seed(torch_seed(run.seed, "weights", stage))
        backbone = run.backbone.build()
        if options.init and stage == 0:
            self._say_left_out(checkpoints.load_weights(backbone, Path(options.init)))
        method = run.method.build(backbone)
        self.learner = Learner(backbone, method)
        tasks: Mapping[str, Method] = method.children_by_name or {"": method}
        for name, task in tasks.items():
            task.asks.check(backbone, name or type(task).__name__)
            backbone.check_side(_side(task) or backbone.smallest)
            examples = getattr(method, "batch_sizes", {}).get(name, run.batch_size)
            if examples % (run.accumulate * here.world) == 0:  # else the feed says so
                task.check_batch(examples, examples // (run.accumulate * here.world))
            if task.looks_before_epochs:
                task.register_buffer("epoch_plan", torch.empty(0, dtype=torch.int64))
            if task.fresh and len(tasks) > 1:
                raise UserError(f"task {name} trains a network drawn anew, which other tasks cannot share; train it alone")
        self.sources = open_sources(run.data, tasks)
        self.bf16 = use_bf16(run.precision, here.device)
        if run.knn:
            open_target(run.knn)  # refused now rather than after hours

    def load(self, state: State, weights: Mapping[str, Tensor]) -> None:
        """Bring the stage to where it stands: fitted anew, started from the last stage's weights, or as checkpointed."""
        run, here, learner = self.run, self.here, self.learner
        stored = state.checkpoint.get("learner", {})
        if stored:
            checkpoints.adopt_buffers(learner, stored)
        else:
            _carry_over(learner, weights)
            learner.method.start(learner.backbone)
            if any(task.fresh for task in self._tasks().values()):
                self._draw_anew()
            self._fit()  # after: what is found in this stage's data counts, not what was found in the last one's
        learner.to(device=here.device)
        if not run.shard:  # fully_shard wants its parameters contiguous
            learner.to(memory_format=torch.channels_last)
        self.optimizer = self._prepare_learner()
        if stored:
            self.bf16 = state.checkpoint.get("bf16", self.bf16)
            distributed.load_full_state(learner, self.optimizer, stored, state.checkpoint["optimizer"])
            learner.method.after_load()
        self.step = state.step
        self.log = RunLog(self.out, self.stage, self.step, silent=not here.is_main)
        self.feed = self._feed({name: train for name, (train, _) in self.sources.items()}, run.accumulate)
        self.questions = self._feed({name: out for name, (_, out) in self.sources.items() if len(out)}, 1, alone=True)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run_stage(self) -> None:
        """Train to the last step, logging, asking held-out questions and writing checkpoints on the way.

        Raises:
            Stopped: asked to end early; a checkpoint is written and the backbone exported first.
        """
        try:
            while self.step < self.run.steps:
                stop = self._next_boundary()
                plans = self._before_epochs()
                if self.step == 0:
                    self._look_before_training()
                for batches in self._steps(self.step, stop, plans):
                    step = self.update(batches)
                    self.step += 1
                    self._report(step)
                    if self._should_stop():
                        self._check_finite(step)
                        self.save()
                        self.export()
                        raise Stopped(self.stage, self.step, self.asked_to_stop())
            self.export()
        finally:
            self.log.close()

    def update(self, batches: Sequence[Batch]) -> Step:
        """One optimiser step from its micro-batches: every phase in turn, then the method's own update."""
        progress = self.step / self.run.steps
        self._set_rates(progress)
        merged = Step(torch.zeros((), device=self.here.device))
        for phase in self.learner.method.phases:
            with only(self.learner, phase):
                step = backward(self.learner, batches, phase, partial(self._forward, phase), self.here)
                distributed.average_gradients(self.learner, self.here, self.run.shard)
                if self.run.clip:
                    torch.nn.utils.clip_grad_norm_(self.learner.parameters(), self.run.clip)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
            merged = Step(merged.loss + step.loss, merged.metrics | step.metrics, merged.carry | step.carry)
        distributed.average_batch_norms(self.learner, self.here)
        with torch.no_grad():
            self.learner.method.after_step(self.learner.backbone, merged.carry, (self.step + 1) / self.run.steps)
        return merged

    def _steps(self, start: int, stop: int, plans: Mapping[str, Plan | None]) -> Iterator[list[Batch]]:
        """Rendered micro-batches of each step. Rendering has no randomness, so it is outside the keyed forward pass."""
        batches: list[Batch] = []
        for fed in self.feed.batches(start, stop, plans):
            self.log.add_bad(fed.bad)
            batches.append(self._render(fed.batch))
            if len(batches) == self.run.accumulate:
                yield batches
                batches = []

    @contextmanager
    def _forward(self, phase: str, micro: int) -> Iterator[None]:
        """Keyed random numbers (dropout and the like) and autocast, for one forward pass."""
        rank = 0 if micro == COMMON else self.here.rank
        torch.manual_seed(torch_seed(self.run.seed, "step", self.stage, self.step, micro, rank, phase))
        with self._autocast():
            yield

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self.here.device.type, torch.bfloat16, enabled=self.bf16):
            yield

    def _set_rates(self, progress: float) -> None:
        factor = self.run.schedule.factor((self.step + 1) / (self.run.steps + 1))  # never exactly 0, at either end
        for group in self.optimizer.param_groups:
            group["lr"] = self.run.optimizer.rate * factor * self.learner.method.rate(group["name"], progress)

    # --- between steps ------------------------------------------------------------------------------------------------

    def _tasks(self) -> Mapping[str, Method]:
        return self.learner.method.children_by_name or {"": self.learner.method}

    def _clusterers(self) -> dict[str, Method]:
        return {name: task for name, task in self._tasks().items() if task.looks_before_epochs}

    def _next_boundary(self) -> int:
        """The step at which some clustering task's epoch ends; the end of the run when there is none."""
        ends = [self.run.steps]
        for name in self._clusterers():
            length = self.feed.streams[name].steps_per_epoch
            ends.append((self.step // length + 1) * length)
        return min(ends)

    def _before_epochs(self) -> dict[str, Plan | None]:
        """Let clustering tasks look, each at the start of its own epoch. A run resumed inside an epoch has its result already."""
        plans: dict[str, Plan | None] = {}
        for name, task in self._clusterers().items():
            stream = self.feed.streams[name]
            number, inside = divmod(self.step, stream.steps_per_epoch)
            if inside:
                plans[name] = self._stored_plan(name)
                continue
            epoch = Epoch(number, stream.source, partial(held_out.embed_all, self.learner, self.feed, name, self.here))
            torch.manual_seed(torch_seed(self.run.seed, "epoch", name, number))
            plan = plans[name] = task.before_epoch(self.learner.backbone, epoch)
            if plan is not None:
                self._restart(name, plan.restart)
                if plan.note and self.here.is_main:
                    self.progress.say(f"{name or type(task).__name__}, epoch {number + 1}: {plan.note}")
            self._store_plan(name, plan)
        return plans

    def _store_plan(self, name: str, plan: Plan | None) -> None:
        """Kept as a buffer, so that a run resumed inside the epoch goes on with it."""
        indices = torch.empty(0, dtype=torch.int64) if plan is None or plan.indices is None else torch.from_numpy(plan.indices)
        self._tasks()[name].register_buffer("epoch_plan", indices.to(self.here.device))

    def _stored_plan(self, name: str) -> Plan | None:
        indices = self._tasks()[name].get_buffer("epoch_plan").cpu().numpy()
        return Plan(indices) if len(indices) else None

    def _restart(self, name: str, parameters: Sequence[str]) -> None:
        prefix = f"method.tasks.{name}." if name else "method."
        wanted = {prefix + parameter for parameter in parameters}
        for full, parameter in self.learner.named_parameters():
            if full in wanted:
                self.optimizer.state.pop(parameter, None)

    def _report(self, step: Step) -> None:
        """Log, ask and save when their turn has come, and always at the last step."""
        run, last = self.run, self.step == self.run.steps
        logs = last or (run.log_every and self.step % run.log_every == 0)
        saves = run.checkpoint_every and self.step % run.checkpoint_every == 0 and not last
        if logs or saves:
            self._check_finite(step)
        if logs:
            self._log_step(step)
        if last:
            self.save()  # whatever comes after, the training is kept
        if last or (run.held_out_every and self.step % run.held_out_every == 0):
            self._ask()
        if saves:
            self.save()

    def _look_before_training(self) -> None:
        """How the features fill their space before a weight has moved: what later figures of collapse are held against."""
        found = self._health(self._replies()) if self.run.held_out_every else {}
        if found:
            self.log.add(self.stage, self.step, found)

    def _ask(self) -> None:
        """Put the held-out questions, watch for collapse, and look at labelled pictures if there are some."""
        replies = self._replies()
        found = {f"held_out/{name}": value for name, value in held_out.figures_of(replies).items()} | self._knn()
        found |= self._health(replies)
        if found:
            self.log.add(self.stage, self.step, found)

    def _replies(self) -> dict[str, held_out.Replies]:
        return held_out.replies(
            self.learner, self.questions, self.run.held_out_examples, self.here.device, self._autocast, self.log.add_bad
        )

    def _health(self, replies: Mapping[str, held_out.Replies]) -> dict[str, Any]:
        """Figures of collapse, and a warning, of that or the method's own: once a task, as the log shows, resumed or not."""
        rows, found = self.log.rows(self.stage), dict[str, Any]()
        for name, one in replies.items():
            prefix = f"{collapse.PREFIX}{name}/" if name else collapse.PREFIX
            now, before = one.health, {k.removeprefix(prefix): v for row in rows if row["step"] == 0 for k, v in row.items()}
            found |= {prefix + figure: value for figure, value in now.items()}
            line = collapse.warning(self.step, now, before) or one.method.warning(one.averages)
            if line and not any(prefix + collapse.WARNING in row for row in rows):
                found[prefix + collapse.WARNING] = line
                self.progress.say(collapse.spoken(self.step, name, line))
        return found

    def _check_finite(self, step: Step) -> None:
        """Before anything is logged or saved: a checkpoint of a run that diverged would be of no use."""
        if self.here.any(not bool(torch.isfinite(step.loss))):
            raise UserError(
                f"the loss is {float(step.loss)} at step {self.step}; lower the rate with --set optimizer.rate=, or clip with "
                "--set clip=1; checkpoints written before are kept"
            )

    def _log_step(self, step: Step) -> None:
        values = {"loss": step.loss, **step.metrics}
        stacked = torch.stack([value.float() for value in values.values()])
        self.here.average([stacked])
        figures = dict(zip(values, stacked.tolist(), strict=True))
        now = time.perf_counter()
        before = getattr(self, "_logged", None)
        if before is not None:
            examples = sum(stream.batch_size for stream in self.feed.streams.values())
            figures["examples_per_second"] = examples * (self.step - before[1]) / max(1e-9, now - before[0])
        self._logged = (now, self.step)
        self.log.add(self.stage, self.step, figures)
        rate = f" {figures['examples_per_second']:.0f} examples/s" if before is not None else ""
        self.progress.update(self.step, self.run.steps, f"loss {figures['loss']:.4f}{rate}")

    def _knn(self) -> dict[str, float]:
        if not self.run.knn:
            return {}
        from embodied_ssl.evaluation.online import online_knn

        with distributed.gathered(self.learner):
            return {"held_out/knn": online_knn(self.learner.backbone, self.run.knn, self.here.device)}

    def _should_stop(self) -> bool:
        done = sum(stage["steps"] for stage in self.config[: self.stage]) + self.step
        by_steps = bool(self.options.stop_after) and done >= self.options.stop_after
        return self.here.any(by_steps or self.asked_to_stop()) and self.step < self.run.steps

    # --- what is kept -------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint and the list of unreadable items."""
        learner, optimizer = distributed.full_state(self.learner, self.optimizer)
        for items in self.here.gather_objects([(row["name"], row["reason"]) for row in self.log.bad.values()]):
            self.log.add_bad(item for item in items if item[0] not in self.log.bad)
        if self.here.is_main:
            path = self.out / "checkpoints" / "last.pt"
            if not all(bool(t.isfinite().all()) for t in learner.values() if t.is_floating_point()):
                raise UserError(f"weights are no longer finite at step {self.step}; lower the rate; '{path}' is kept as it was")
            checkpoints.save_checkpoint(path, self.stage, self.step, self.config, learner, optimizer, self.bf16)
            self.log.write_bad()

    def export(self) -> None:
        """Write the plain backbone and its card."""
        learner, _ = distributed.full_state(self.learner, self.optimizer)
        if self.here.is_main:
            prefix = "backbone.net."
            net = {name.removeprefix(prefix): tensor for name, tensor in learner.items() if name.startswith(prefix)}
            checkpoints.export_backbone(self.out / "backbone", net, self._card())

    def _card(self) -> checkpoints.Card:
        size = next(filter(None, map(_side, self._tasks().values())), 0)
        origin = {
            "method": type(self.run.method).__name__,
            "data": {name or "data": train.name for name, (train, _) in self.sources.items()},
            "samples": {name or "data": len(train) for name, (train, _) in self.sources.items()},
            "stage": self.stage,
            "steps": self.step,
            "examples_seen": self.step * sum(stream.batch_size for stream in self.feed.streams.values()),
            "seed": self.run.seed,
        }
        return checkpoints.Card(self.run.backbone.to_json(), checkpoints.preprocessing(size, self.run.backbone.channels), origin)

    # --- building -----------------------------------------------------------------------------------------------------

    def _fit(self) -> None:
        for name, task in self._tasks().items():
            task.fit(self.sources[name][0], generator(self.run.seed, "fit", name))
            found = task.describe()
            if found and self.here.is_main:
                printed = {key: value for key, value in found.items() if key != "points"}
                self.progress.say(f"{name or type(task).__name__} found: {printed}")
                write_json(self.out / f"found{'_' + name if name else ''}.json", found)

    def _draw_anew(self) -> None:
        """Give the backbone other first weights, keyed by the run's seed and the stage: what it had learned is the method's."""
        torch.manual_seed(torch_seed(self.run.seed, "fresh", self.stage))
        self.learner.backbone.load_state_dict(self.run.backbone.build().state_dict())

    def _prepare_learner(self) -> torch.optim.Optimizer:
        self.learner = distributed.prepare(self.learner, self.here, self.run.sync_batch_norm, self.run.shard)
        self.learner.train()
        if self.run.compile:
            self.learner.compile()
        return self.run.optimizer.build(parameter_groups(self.learner, self.run.optimizer))

    def _feed(self, sources: Mapping[str, Source], accumulate: int, alone: bool = False) -> Feed:
        sizes: Mapping[str, int] = getattr(self.learner.method, "batch_sizes", {})
        streams = {
            name: Stream(name, source, self._tasks()[name].view, sizes.get(name, self.run.batch_size))
            for name, source in sources.items()
        }
        workers = min(2, os.cpu_count() or 1) if self.options.workers < 0 else self.options.workers
        rank, world = (0, 1) if alone else (self.here.rank, self.here.world)
        return Feed(streams, self.run.seed, workers, accumulate, rank, world)

    def _render(self, batch: Batch) -> Batch:
        rendered: Batch = {}
        for name, task in self._tasks().items():
            one = held_out.render(task, held_out.without_prefix(batch, name), self.here.device)
            rendered |= {f"{name}/{key}" if name else key: value for key, value in one.items()}
        return rendered

    def _say_left_out(self, names: Sequence[str]) -> None:
        if names and self.here.is_main:
            self.progress.say(
                f"left out of {self.options.init}: {len(names)} weights this backbone has no place for ({names[0]}, ...)"
            )


def _carry_over(learner: Learner, weights: Mapping[str, Tensor]) -> None:
    """Start from the last stage's weights: the backbone's, and the method's where name and shape agree."""
    own = learner.state_dict()
    learner.load_state_dict({n: weights[n] if n in weights and weights[n].shape == t.shape else t for n, t in own.items()})


def _side(task: Method) -> int:
    """Side in pixels of the pictures that a task's view makes; 0 where it has no one size."""
    return int(getattr(task.view, "size", 0))
