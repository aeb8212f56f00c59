"""The command line: parses, calls, prints. Nothing heavy is imported before a command needs it.

A user's mistake is one line on standard error and exit code 2; Ctrl-C ends with 130, after saving.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embodied_ssl import __version__
from embodied_ssl.benchmark.commands import app as bench
from embodied_ssl.errors import BadItem, UserError, suggest
from embodied_ssl.process import be_a_good_host

if TYPE_CHECKING:
    from embodied_ssl.evaluation.run import Request
    from embodied_ssl.inspection import Answered
    from embodied_ssl.sim.collecting.engines import Engine
    from embodied_ssl.sim.drive.spec import DriveSpec
    from embodied_ssl.sim.spec import Spec

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Visual features without labels: from pictures, egocentric video, the camera's own motion, and what a robot touches.",
)

app.add_typer(bench, name="bench")

Json = Annotated[str, typer.Option("--json", metavar="FILE", help="Also write the result as JSON.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Workers = Annotated[int, typer.Option(min=-1, help="Processes that read data; they change nothing but the time. -1 chooses.")]
Seed = Annotated[int, typer.Option(help="Decides every random draw.")]
MODEL = "A run folder, a file of weights (FILE or FILE@ARCHITECTURE), torchvision:NAME, timm:NAME, or FILE.py:FUNCTION."
On = Annotated[str, typer.Option("--on", metavar="DATA", help="Labelled data: class folders, or a published data set's folder.")]
Reader = Annotated[str, typer.Option("--as", metavar="READER", help="Read the data as this (see `list datasets`).")]
Protocols = Annotated[
    str, typer.Option(help="With commas; see `list protocols`. `all` is every one the data allow; also pretext.")
]
Seeds = Annotated[int, typer.Option(min=0, help="How many untrained networks stand beside each model.")]
Supervised = Annotated[bool, typer.Option("--supervised", help="Also train each network with the labels, for as many pictures.")]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help="Keep pictures, features and rows between calls.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what is in --out.")]


@app.command()
def pretrain(
    config: Annotated[str, typer.Argument(help="A config's name (see `list configs`) or the path of a .py file.")],
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as data.root=FOLDER.")] = [],  # noqa: B006
    reader: Reader = "",
    steps: Annotated[int, typer.Option(help="Length of the run in steps (part of the config); 0 leaves the config's.")] = 0,
    stop_after: Annotated[int, typer.Option(min=0, help="End early after this many steps, saved; 0 for never.")] = 0,
    seed: Annotated[int, typer.Option(min=-1, help="Decides every random draw (part of the config); -1 leaves it.")] = -1,
    workers: Workers = -1,
    out: Annotated[str, typer.Option(help="The run folder; runs/CONFIG if not given.")] = "",
    init: Annotated[str, typer.Option(metavar="RUN|FILE", help="Start the backbone from these weights.")] = "",
    resume: Resume = False,
    extend: Annotated[bool, typer.Option("--extend", help="With --resume: allow more --steps than before.")] = False,
    device: Device = "auto",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same bits each time on a GPU too.")] = False,
    json_file: Json = "",
) -> None:
    """Train a backbone without labels."""
    from embodied_ssl import config as configs
    from embodied_ssl.inspection import better_reader, read_as
    from embodied_ssl.progress import Silent, shown
    from embodied_ssl.start import Options, Stopped
    from embodied_ssl.trainer import pretrain as train

    changes = [*set_, *([f"steps={steps}"] if steps else []), *([f"seed={seed}"] if seed >= 0 else [])]
    stages = [read_as(stage, reader) if reader else stage for stage in configs.load(config)]
    for change in changes:
        stages = [configs.override(stage, change) for stage in stages]
    stages = [configs.with_absolute_roots(stage) for stage in stages]
    folder = Path(out or f"runs/{Path(config).stem}")
    options = Options(device, workers, resume, stop_after, init, deterministic, extend)
    main_rank = os.environ.get("RANK", "0") == "0"
    if main_rank:
        for stage in stages:
            _say("\n".join(configs.describe(stage)))
            if note := better_reader(stage):
                _say(note)
    with shown("pretrain") if main_rank else nullcontext(Silent()) as progress:
        try:
            train(stages, folder, options, progress)
        except Stopped as stopped:
            also = (f"--device {device} " if device != "auto" else "") + ("--deterministic " if deterministic else "")
            where = f"--out {shlex.quote(str(folder))} --resume"
            read = f"--as {reader} " if reader else ""
            again = f"embodied-ssl pretrain {shlex.quote(config)} {read}{_as_given(changes)}{also}{where}"
            progress.say(f"stopped at step {stopped.step} of {stages[stopped.stage].steps}, saved; continue with: {again}")
            if stopped.by_signal:
                sys.exit(130)
    if main_rank:
        from embodied_ssl.report.run_report import write_run_report

        found = _panels(folder, config)
        report = write_run_report(folder, found.asked, found.answers, found.looks)
        warned = {"warnings": said} if (said := _warnings(folder)) else {}
        held_out, bad = _last_held_out(folder), _count_bad(folder)
        result = {"run": str(folder), "report": str(report), "held_out": held_out, "bad_items": bad, **warned}
        _print_facts(result)
        _write_json(json_file, result)


def _panels(folder: Path, config: str) -> Answered:
    """What a run's report shows that was asked and answered; nothing if the data cannot be read again."""
    from embodied_ssl.finished import open_run
    from embodied_ssl.inspection import Answered, answered_panels

    try:
        return answered_panels(open_run(folder, config))
    except (UserError, BadItem) as error:
        _say(f"no pictures in the report: {error}")
        return Answered([], [], [])


@app.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(metavar="MODEL [MODEL]...", help=MODEL)],
    on: On = "",
    reader: Reader = "",
    protocol: Protocols = "",
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as knn.k=200.")] = [],  # noqa: B006
    config: Annotated[str, typer.Option(help="The run's config, when it lies outside the package (for pretext).")] = "",
    size: Annotated[int, typer.Option(min=0, help="Pixels that networks are shown; 0 for each one's own.")] = 0,
    seeds: Seeds = 3,
    supervised: Supervised = False,
    device: Device = "auto",
    workers: Workers = -1,
    cache: Cache = True,
    json_file: Json = "",
) -> None:
    """Judge a network (or several) on labelled pictures, beside the same network untrained and plain descriptors."""
    from embodied_ssl.evaluation.run import evaluate_run
    from embodied_ssl.evaluation.scores import format_table
    from embodied_ssl.progress import shown

    request = _request(on, reader, protocol, set_, seeds, supervised, device, cache, config, workers, size)
    with shown("evaluate") as progress:
        run, *beside = models
        result = evaluate_run(run, request, lambda what, done, total: progress.update(done, total, what), progress.say, beside)
    on_data = [score for score in result.scores if not score.protocol.startswith("pretext")]
    if on_data:
        _say(format_table(on_data))
    for line in result.notes:
        _say(line)
    if (Path(run) / "log.jsonl").exists():
        from embodied_ssl.report.run_report import write_run_report

        _say(f"report: {write_run_report(Path(run))}")
    _write_json(json_file, [score.to_json() for score in result.scores])


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="MODEL_A", help="A model; several runs of one method with commas between.")],
    second: Annotated[str, typer.Argument(metavar="MODEL_B", help="The other model, or models.")],
    on: On,
    reader: Reader = "",
    protocol: Protocols = "",
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as knn.k=200.")] = [],  # noqa: B006
    seeds: Seeds = 3,
    device: Device = "auto",
    cache: Cache = True,
    json_file: Json = "",
) -> None:
    """Subtract one run from another, paired picture by picture; of several runs a side, over runs."""
    from embodied_ssl.evaluation.compare import compare as compare_models
    from embodied_ssl.evaluation.scores import format_differences, format_table
    from embodied_ssl.progress import shown

    request = _request(on, reader, protocol, set_, seeds, False, device, cache)
    with shown("compare") as progress:
        found = compare_models(
            _words(first), _words(second), request, lambda what, done, total: progress.update(done, total, what)
        )
    _say(format_table(found.scores))
    _say("\n" + format_differences(found.differences, "first minus second"))
    _say(found.caution)
    _write_json(json_file, [score.to_json() for score in [*found.scores, *found.differences]])


@app.command()
def diagnose(
    models: Annotated[list[str], typer.Argument(metavar="MODEL [MODEL]", help=MODEL)],
    on: On,
    out: Annotated[str, typer.Option(metavar="FILE", help="The report.")] = "diagnosis.html",
    size: Annotated[int, typer.Option(min=0, help="Pixels that networks are shown; 0 for each one's own.")] = 0,
    device: Device = "auto",
    cache: Cache = True,
    json_file: Json = "",
) -> None:
    """Examine networks without training anything: rank, likeness, attention, neighbours, filters, layout."""
    from embodied_ssl.diagnosis import diagnose as examine
    from embodied_ssl.evaluation.run import evaluation_cache
    from embodied_ssl.progress import shown

    kept = evaluation_cache() if cache else None
    with shown("diagnose") as progress:
        found = examine(
            models,
            on,
            Path(out),
            size=size,
            device=device,
            cache=kept,
            on_progress=lambda what, done, total: progress.update(done, total, what),
        )
    _say(f"report: {found.report}")
    _write_json(json_file, [row.to_json() for row in found.rows])


@app.command()
def equivariance(
    models: Annotated[list[str], typer.Argument(metavar="MODEL [MODEL]...", help=f"{MODEL} NAME_s0, NAME_s1 are one method.")],
    on: Annotated[str, typer.Option("--on", metavar="DRIVES", help="Drives: a folder of data with motions.")],
    reader: Reader = "",
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="As data.camera=3, or drawing.pairs=500.")] = [],  # noqa: B006
    folds: Annotated[int, typer.Option(min=0, help="Leave so many parts of the drives out in turn; 0: the data's split.")] = 0,
    layers: Annotated[str, typer.Option(help="Stages, all, or projection (what the loss saw); the last if not given.")] = "",
    seeds: Seeds = 3,
    size: Annotated[int, typer.Option(min=0, help="Pixels that networks are shown; 0 for each one's own.")] = 0,
    out: Annotated[str, typer.Option(metavar="FILE", help="The report; its rows lie beside it as .json.")] = "motion.html",
    device: Device = "auto",
    cache: Cache = True,
    json_file: Json = "",
) -> None:
    """Ask how features change as the camera moves: by a map of the motion, or by something else; beside untrained networks."""
    from embodied_ssl.evaluation.motion.table import format_table
    from embodied_ssl.moving import Asked, examine
    from embodied_ssl.progress import shown

    asked = Asked(on, reader, tuple(set_), folds, tuple(_words(layers)), seeds, size, device, cache)
    with shown("equivariance") as progress:
        found = examine(models, asked, Path(out), lambda what, done, total: progress.update(done, total, what))
    _say(format_table(found.groups, found.question, found.differences))
    for line in found.lines():
        _say(line)
    _say(f"report: {out}")
    _write_json(json_file, [score.to_json() for score in found.scores])


@app.command()
def study(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A Python file that defines `study`.")],
    out: Annotated[str, typer.Option(help="The study's folder; runs/NAME if not given.")] = "",
    shard: Annotated[str, typer.Option(metavar="i/N", help="Make only the networks of part i of N, counted from 0.")] = "0/1",
    again: Annotated[bool, typer.Option("--again", help="Judge anew what is judged; what is trained stays.")] = False,
    device: Device = "auto",
    workers: Workers = -1,
    json_file: Json = "",
) -> None:
    """Train and judge every run of a study, skipping what is finished, and write one table."""
    from embodied_ssl.progress import shown
    from embodied_ssl.study import load_study, run_study

    wanted = load_study(file)
    part, _, parts = shard.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise UserError(f"--shard {shard} is not accepted; give i/N with 0 <= i < N, as 0/4")
    folder = Path(out or f"runs/{Path(file).stem}")
    with shown("study") as progress:
        made = run_study(wanted, folder, progress, device=device, workers=workers, shard=(int(part), int(parts)), again=again)
    _say(made.table.read_text())
    _print_facts({"table": made.table, "made": made.made, "kept": made.kept, "left_out": len(made.failed)})
    _write_json(json_file, {"table": str(made.table), "made": made.made, "kept": made.kept, "left_out": made.failed})
    if made.failed:
        raise UserError(f"{len(made.failed)} cells were left out, the first: {made.failed[0][0]}: {made.failed[0][1]}")


def _request(
    on: str,
    reader: str,
    protocol: str,
    changes: list[str],
    seeds: int,
    supervised: bool,
    device: str,
    cache: bool,
    config: str = "",
    workers: int = 0,
    size: int = 0,
) -> Request:
    from embodied_ssl.evaluation.bench import Settings
    from embodied_ssl.evaluation.run import Request

    settings = Settings(random_seeds=tuple(range(seeds)), supervised=supervised, device=device)
    return Request(on, tuple(_words(protocol)), tuple(changes), config, workers, settings, cache, reader, size)


@app.command()
def simulate(
    out: Annotated[str, typer.Option(help="The folder to fill.")] = "",
    task: Annotated[str, typer.Option(help="Of grasp, push, poke, observe, with commas; or drive.")] = "grasp,push,poke",
    episodes: Annotated[int, typer.Option(help="Interactions, or drives.")] = 300,
    seed: Seed = 0,
    robot: Annotated[str, typer.Option(help="jaw, panda or kuka.")] = "jaw",
    solver: Annotated[str, typer.Option(help="Of physics: reference, default or fast.")] = "default",
    renderer: Annotated[str, typer.Option(help="gl, tiny or auto: gl where it works.")] = "auto",
    size: Annotated[
        str, typer.Option(help="Pixels of pictures: one number, or HEIGHT,WIDTH. [default: 128; drives: 96,128]")
    ] = "",
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as randomise.textures=0.5.")] = [],  # noqa: B006
    workers: Annotated[int, typer.Option(help="Processes; they change nothing but the time.")] = 1,
    engine: Annotated[str, typer.Option(help="Who works: processes, serial (this one, unwatched) or ray.")] = "processes",
    shard: Annotated[str, typer.Option(metavar="i/N", help="Make part i of N, from 1; the parts may share one --out.")] = "",
    patience: Annotated[float, typer.Option(min=0, help="Seconds of silence until a worker is replaced; 0: never.")] = 120,
    resume: Resume = False,
    verify: Annotated[str, typer.Option("--verify", metavar="DIR", help="Only check a folder against its hashes.")] = "",
    sheet: Annotated[str, typer.Option(metavar="FILE", help="Also draw 64 of the interactions as a PNG.")] = "",
    json_file: Json = "",
) -> None:
    """Generate a data set of robot interactions, or of drives through rooms and streets with exact poses and labelled stills."""
    if verify:
        _verify(verify, json_file)
        return
    if not out:
        raise UserError("simulate needs a folder to fill; give --out FOLDER, or --verify FOLDER to check one")
    tasks = _words(task)
    if sheet and (tasks == ["drive"] or Path(sheet).suffix != ".png"):
        raise UserError(f"--sheet {sheet} is not accepted; give FILE.png, for interactions")
    if "drive" in tasks and len(tasks) > 1:
        raise UserError(f"drives and interactions are different data sets, but --task is {task}; make them one after the other")
    with _terminated_like_ctrl_c():
        if tasks == ["drive"]:
            if shard or (robot, solver, engine) != ("jaw", "default", "processes"):
                raise UserError("--robot, --solver, --engine and --shard are for interactions; leave them out for drives")
            from embodied_ssl.sim.drive.command import spec_of

            result = _simulate_drives(Path(out), spec_of(episodes, seed, size, renderer, tuple(set_)), workers, patience, resume)
        else:
            from embodied_ssl.sim.collecting import command

            asked = command.Asked(tuple(tasks), episodes, seed, size or "128", robot, solver, renderer, tuple(set_))
            result = _simulate(Path(out), command.spec_of(asked), command.engine_of(engine, workers, patience), shard, resume)
    if sheet:
        from embodied_ssl.sim.sheet import write_sheet

        write_sheet(Path(sheet), Path(out))
    left_out = result.pop("left_out")
    _print_facts({**result, "left_out": len(left_out)} if left_out else result)
    _print_left_out(left_out)
    _write_json(json_file, {**result, "left_out": left_out})
    lost = [item for item in left_out if item["name"].startswith("shard-")]
    if lost:
        raise UserError(f"{len(lost)} shards could not be made, the first {lost[0]['name']}: {lost[0]['reason']}")


def _simulate(out: Path, spec: Spec, engine: Engine, shard: str, resume: bool) -> dict[str, Any]:
    from embodied_ssl.progress import shown
    from embodied_ssl.sim.collecting.accepted import Part
    from embodied_ssl.sim.collecting.collect import collect

    part = Part.parse(shard) if shard else Part()
    with shown("simulate") as progress:
        summary = collect(out, spec, engine, resume, part, progress)
    result = {"out": str(out), "total": summary.total, "made": summary.made}
    result |= {"sha256": summary.sha256} if not summary.missing else {"missing_shards": summary.missing}
    return {**result, **summary.success, "left_out": summary.left_out}


def _simulate_drives(out: Path, spec: DriveSpec, workers: int, patience: float, resume: bool) -> dict[str, Any]:
    from embodied_ssl.progress import shown
    from embodied_ssl.sim.drive.collect import collect

    if workers < 1:
        raise UserError(f"--workers is {workers}; give 1 or more processes")
    with shown("simulate") as progress:
        summary = collect(out, spec, workers, resume, progress.update, patience)
    return {"out": str(out), "total": summary.total, "made": summary.made, "sha256": summary.sha256, "left_out": []}


def _verify(folder: str, json_file: str) -> None:
    from embodied_ssl.progress import shown
    from embodied_ssl.sim.collecting.verify import verify

    with shown("verify") as progress:
        found = verify(Path(folder), progress.update)
    _print_facts({"folder": folder, "kind": found.kind, "sound": len(found.named("sound"))})
    for name, state in found.states.items():
        if state != "sound":
            _say(f"  {state}: {name}")
    _write_json(json_file, found.to_json())
    if not found.whole:
        raise UserError(f"'{folder}' is not whole; make what is wrong again with the same simulate command and --resume")
    _say(f"sha256: {found.sha256}")


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """A scheduler's SIGTERM ends work as Ctrl-C does: what is finished is listed, workers leave, exit code 130."""
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


@app.command("export-data")
def export_data(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of interactions that simulate has written.")],
    form: Annotated[str, typer.Option("--format", help="lerobot, hdf5 or webdataset.")],
    out: Annotated[str, typer.Option(help="The folder to make.")],
    pictures: Annotated[
        str,
        typer.Option(help="lerobot: video (H.264: small, what LeRobot itself writes) or image (exact, larger); default video."),
    ] = "",
    compression: Annotated[
        str, typer.Option(help="hdf5: gzip (read everywhere), lzf (h5py only) or none, of pictures; default gzip.")
    ] = "",
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Export what is there of a folder that lacks shards.")] = False,
    json_file: Json = "",
) -> None:
    """Write simulated interactions in another toolkit's format.

    lerobot: a LeRobotDataset v3.0. An interaction is an episode: its film, or two frames (before, after) called a second apart.
    One action vector serves all tasks. Depth, places of things, texts and raw traces stand beside, in interactions/: the format
    has no place for them. Load it with LeRobotDataset("any/name", root=OUT), or here with `pretrain CONFIG --as LeRobot`.

    hdf5: OUT/data.hdf5 in robomimic's layout: a demo an interaction, actions scaled to -1..1, depth in metres, mask/train and
    mask/valid.

    webdataset: OUT/train-000000.tar and so on, 1000 samples each: the native pictures as they are, .npy for traces, .json for the
    rest.

    The same interactions give the same bytes. Train and valid share no thing that was acted on. Shards that were altered are left
    out and named. OUT appears when all of it is written.
    """
    from embodied_ssl.progress import shown
    from embodied_ssl.sim.export.exporting import choices, export

    chosen = choices(form, pictures=pictures, compression=compression)
    with shown("export-data") as progress:
        try:
            made = export(Path(folder), Path(out), form, chosen, unfinished, progress.update)
        except KeyboardInterrupt:
            progress.say(f"interrupted; nothing is left in {out}: run the same command again")
            sys.exit(130)
    left_out = [{"name": item.name, "reason": item.reason} for item in made.bad]
    result = {"out": out, "format": form, "interactions": made.interactions, "files": made.files, "bytes": made.bytes}
    _print_facts({**result, "left_out": len(left_out)})
    _print_left_out(left_out)
    _write_json(json_file, {**result, "left_out": left_out})


@app.command()
def embed(
    run: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL)],
    on: Annotated[str, typer.Option("--on", metavar="FOLDER", help="A folder of pictures.")],
    out: Annotated[str, typer.Option(metavar="FILE", help="features.npy or features.parquet")] = "features.parquet",
    device: Device = "auto",
    json_file: Json = "",
) -> None:
    """Write the features of every picture in a folder."""
    from embodied_ssl.distributed import choose_device
    from embodied_ssl.evaluation.embedding import embed_folder
    from embodied_ssl.evaluation.models import open_model
    from embodied_ssl.progress import shown

    model = open_model(run)
    with shown("embed") as progress:
        rows, bad = embed_folder(
            model.backbone,
            model.preprocessing,
            on,
            Path(out),
            choose_device(device),
            lambda what, done, total: progress.update(done, total, what),
        )
    result = {"file": out, "rows": rows, "width": model.backbone.width, "left_out": [str(item) for item in bad]}
    _print_facts(result)
    _write_json(json_file, result)


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="CONFIG|RUN", help="A config's name, a .py file, or a finished run's folder.")],
    on: Annotated[str, typer.Option("--on", metavar="DATA", help="The data folder.")] = "",
    reader: Reader = "",
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; of a run, only data.*")] = [],  # noqa: B006
    config: Annotated[str, typer.Option(help="The run's config, when it lies outside the package.")] = "",
    out: Annotated[str, typer.Option(metavar="FILE", help="The PNG to write; views.png if not given, of a run RUN.png.")] = "",
    json_file: Json = "",
) -> None:
    """Draw what a config asks of a network, before any training; of a finished run also what its network answers.

    Answers are to questions about recordings never trained on. Green rims are right, red ones wrong.
    """
    from embodied_ssl import config as configs
    from embodied_ssl.finished import open_run
    from embodied_ssl.inspection import Answered, answered_panels, read_as, view_panels, with_data
    from embodied_ssl.report.sheet import write_sheet

    folder = Path(what)
    finished = open_run(folder, config) if what not in configs.names() and folder.is_dir() else None
    run = finished.run if finished else configs.load(what)[0]
    run = read_as(run, reader) if reader else run
    for change in set_:
        if finished and not change.startswith("data."):
            raise UserError(f"'{change}' would change what '{what}' was trained with; of a finished run only data.* can be set")
        run = configs.override(run, change)
    run = with_data(run, on) if on else run
    out = out or (f"{folder.resolve().name}.png" if finished else "views.png")
    if Path(out).suffix != ".png":
        raise UserError(f"'{out}' must end in .png")
    found = answered_panels(replace(finished, run=run)) if finished else Answered(view_panels(run), [], [])
    write_sheet(Path(out), found.asked, found.answers)
    result = {"file": out, "rows": [caption for caption, _ in found.asked], "answers": [caption for caption, _ in found.answers]}
    for name, value in result.items():
        _say("\n".join([f"{name}:", *(f"  {caption}" for caption in value)]) if isinstance(value, list) else f"{name}: {value}")
    for line in found.silent:
        _say(f"no answers: {line}")
    for line in _warnings(folder) if finished else ():
        _say(line)
    _write_json(json_file, result)


@app.command()
def inspect(data: Annotated[str, typer.Argument(metavar="DATA", help="Any folder.")], json_file: Json = "") -> None:
    """Say what a folder is, what can be trained on it, and what in it cannot be read."""
    from embodied_ssl.inspection import inspect_data

    found = inspect_data(data)
    left_out = found["left_out"]
    _print_facts({**found, "left_out": len(left_out)})
    _print_left_out(left_out)
    _write_json(json_file, found)


@app.command()
def prepare(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of videos, or several joined by commas.")],
    reader: Reader = "",
    cache: Annotated[
        str, typer.Option(help="Keep frames as rgb or jpeg; auto: rgb if it fits, else jpeg; none: indexes only.")
    ] = "auto",
    short_side: Annotated[int, typer.Option(help="Pixels of the kept frames' shorter side; a run's data.short_side.")] = 128,
    fps: Annotated[float, typer.Option(help="Frames a second to keep, 0 for all; a run's data.fps.")] = 0.0,
    budget: Annotated[str, typer.Option(metavar="SIZE", help="Disk that --cache auto may take.")] = "20GB",
    motion: Annotated[str, typer.Option(help="difference, dis or farneback; a run's data.motion.")] = "difference",
    workers: Workers = -1,
    json_file: Json = "",
) -> None:
    """Make videos ready for training, once: index them, find the broken ones, keep their frames small."""
    from embodied_ssl import prepare as preparing
    from embodied_ssl.progress import shown

    order = preparing.Order(cache, short_side, fps, preparing.parse_bytes(budget), workers, motion)  # type: ignore[arg-type]
    spec = preparing.spec_for(data, reader)
    videos, bad = preparing.videos_of(spec)
    plan = preparing.plan_for(videos, order)
    for line in plan.lines():
        _say(line)
    with shown("prepare") as progress:
        try:
            report = preparing.prepare(plan, progress)
        except KeyboardInterrupt:
            progress.say("interrupted; finished videos are kept: run the same command again to go on")
            raise typer.Exit(130) from None
    found = report.to_json()
    found["left_out"] = [*({"name": item.name, "reason": item.reason} for item in bad), *found["left_out"]]
    _print_facts({**found, "bytes": preparing.shown_bytes(found["bytes"]), "left_out": len(found["left_out"])})
    _print_left_out(found["left_out"])
    _write_json(json_file, found)
    if not found["made"] and not found["ready_before"]:
        raise UserError(f"none of the {len(videos)} videos of '{data}' can be read; the reasons are above")
    _say(report.how_to_use())


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, backbones, datasets, protocols or configs; all if not given.")] = "",
    json_file: Json = "",
) -> None:
    """List what there is."""
    kinds = ("methods", "backbones", "datasets", "protocols", "configs")
    if what and what not in kinds:
        raise UserError(f"nothing is called '{what}' here{suggest(what, kinds)}")
    found = {kind: _listing(kind) for kind in kinds if not what or kind == what}
    for kind, rows in found.items():
        _say(f"{kind}:")
        width = max(map(len, rows), default=0) + 2
        for name, line in rows.items():
            _say(f"  {name:{width}}{line}")
    _write_json(json_file, found)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="The folder for data, run and report.")] = "runs/demo",
    videos: Annotated[str, typer.Option(help="A folder of videos instead of simulated drives' films.")] = "",
    drives: Annotated[str, typer.Option(help="A folder of drives instead of simulated ones.")] = "",
    scenes: Annotated[str, typer.Option(help="A folder of class folders instead of simulated rooms.")] = "",
    steps: Annotated[int, typer.Option(help="Of pretraining.")] = 0,
    device: Device = "auto",
    json_file: Json = "",
) -> None:
    """Simulate, pretrain on all of it, judge the features on scenes, and write a report: minutes on a laptop."""
    from embodied_ssl.demo import run_demo
    from embodied_ssl.progress import shown

    with shown("demo") as progress:
        result = run_demo(Path(out), videos, drives, scenes, steps, device, progress)
    _say(result.table)
    _say(f"report: {result.report}")
    _write_json(json_file, {"report": str(result.report), "scores": [score.to_json() for score in result.scores]})


@app.command()
def doctor(json_file: Json = "") -> None:
    """Check this machine: packages, system libraries, simulator, GPU, disk."""
    from embodied_ssl.doctor import as_json, examine

    found = examine()
    for one in found:
        _say(one.line())
    _write_json(json_file, as_json(found))
    if any(one.state == "missing" for one in found):
        raise typer.Exit(1)


def _listing(kind: str) -> dict[str, str]:
    from embodied_ssl import discover

    if kind == "methods":
        return {
            name: discover.first_sentence(sys.modules[method.__module__]) for name, method in sorted(discover.methods().items())
        }
    if kind == "backbones":
        from embodied_ssl import backbones

        others = {
            "torchvision:NAME": "its ResNets, and what it cuts as `features`",
            "timm:NAME": "any that gives its stages (extra: timm)",
        }
        return backbones.described() | others
    if kind == "datasets":
        return {spec.__name__: spec.protocol for spec in discover.specs()}
    if kind == "protocols":
        from embodied_ssl.evaluation.run import PRETEXT

        found = {name: discover.first_sentence(sys.modules[kind.__module__]) for name, kind in discover.protocols().items()}
        return found | {PRETEXT: "Pretext: the run's own question on its own held-out recordings."}
    return discover.configs()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _as_given(changes: Sequence[str]) -> str:
    return "".join(f"--set {shlex.quote(change)} " for change in changes)


def _say(line: str) -> None:
    typer.echo(line)


def _print_facts(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            _say(f"{name}:")
            for key, inner in value.items():
                _say(f"  {key}: {inner:.4g}" if isinstance(inner, float) else f"  {key}: {inner}")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            _say(f"{name}: {shown:.4g}" if isinstance(shown, float) else f"{name}: {shown}")


def _print_left_out(items: list[dict[str, str]]) -> None:
    for item in items[:20]:
        _say(f"  left out: {item['name']}: {item['reason']}")
    if len(items) > 20:
        _say(f"  and {len(items) - 20} more; --json FILE lists them all")


def _last_held_out(folder: Path) -> dict[str, float]:
    from embodied_ssl.files import read_lines

    rows = [row for row in read_lines(folder / "log.jsonl") if any(key.startswith("held_out/") for key in row)]
    return {key.removeprefix("held_out/"): value for key, value in (rows[-1] if rows else {}).items() if "held_out/" in key}


def _warnings(folder: Path) -> list[str]:
    from embodied_ssl.collapse import said
    from embodied_ssl.files import read_lines

    return said(read_lines(folder / "log.jsonl"))


def _count_bad(folder: Path) -> int:
    from embodied_ssl.files import read_lines

    return len(read_lines(folder / "bad_items.jsonl"))


def _write_json(path: str, value: Any) -> None:
    if path:
        from embodied_ssl.files import atomic

        with atomic(Path(path)) as file:
            file.write((json.dumps(value, indent=1) + "\n").encode())


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False) -> None:
    if version:
        _say(__version__)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; never shows a traceback for a user's mistake."""
    be_a_good_host()
    try:
        code = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer's own parser raises, whichever click it brings along
            raise
        _fail(_usage(error.format_message(), getattr(error, "ctx", None)))
    if code == 130:  # typer turns Ctrl-C into this
        sys.stderr.write("interrupted; what was finished is kept, and --resume continues it\n")
    sys.exit(code if isinstance(code, int) else 0)


def _usage(message: str, context: Any) -> str:
    """The parser's complaint, with what is accepted where it does not say so."""
    message = message.rstrip(".")
    if "such command" in message and "mean" not in message and context is not None:
        return f"{message}; there is {', '.join(sorted(context.command.commands))}"
    return message if message.endswith("?") else f"{message}; see --help"


def _fail(message: str) -> None:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(2)
