"""The commands that measure: ``embodied-ssl bench video``, ``bench simulate``, ``bench fidelity``, ``bench determinism``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Measure the toolkit beside what people use today.")

Json = Annotated[str, typer.Option("--json", metavar="FILE", help="Also write the result as JSON.")]
Markdown = Annotated[str, typer.Option(metavar="FILE", help="Also write the tables as Markdown.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often everything is timed.")]


@app.command()
def video(
    size: Annotated[str, typer.Option(help="Heights of the test videos, with commas.")] = "360p,720p",
    gop: Annotated[str, typer.Option(help="Frames from one keyframe to the next, with commas.")] = "12,30,250",
    seconds: Annotated[int, typer.Option(help="Length of the test videos.")] = 60,
    rounds: Rounds = 5,
    feeds: Annotated[str, typer.Option(help="Which, with commas; all if not given. The naive loops come along.")] = "",
    workers: Annotated[int, typer.Option(min=2, help="Processes where several feed at the same time.")] = 2,
    markdown: Markdown = "",
    json_file: Json = "",
) -> None:
    """Every way of feeding video beside plain decord and torchcodec loops, on videos made for it."""
    from embodied_ssl.benchmark import tables
    from embodied_ssl.benchmark.feeds import chosen
    from embodied_ssl.benchmark.machine import this_machine
    from embodied_ssl.benchmark.video import Plan, as_json, run, videos_of
    from embodied_ssl.progress import shown

    plan = Plan(videos_of(size, gop, seconds), chosen(_words(feeds)), rounds, workers)
    machine = this_machine()
    typer.echo("\n".join([*machine.lines(), "", *tables.EXPLAINED, ""]))
    found = []
    with shown("bench") as progress:
        for measured in run(plan, progress):
            found.append(measured)
            typer.echo(tables.as_text(measured, workers))
    _keep(markdown, tables.as_markdown(machine.lines(), found, workers), json_file, as_json(machine, plan, found))


@app.command()
def simulate(
    rounds: Rounds = 5,
    ways: Annotated[str, typer.Option(help="Which, with commas; all if not given. The naive script comes along.")] = "",
    markdown: Markdown = "",
    json_file: Json = "",
) -> None:
    """The simulator's solvers, robots and renderers beside the script that people write."""
    from embodied_ssl.benchmark import simulation
    from embodied_ssl.benchmark.machine import this_machine
    from embodied_ssl.benchmark.simulators import chosen
    from embodied_ssl.progress import shown

    wanted = chosen(_words(ways))
    machine = this_machine()
    typer.echo("\n".join([*machine.lines(), "", *simulation.EXPLAINED, ""]))
    with shown("bench") as progress:
        rows = simulation.rows_of(simulation.run(wanted, rounds, progress))
    typer.echo(simulation.as_text(rows))
    _keep(markdown, simulation.as_markdown(machine.lines(), rows), json_file, simulation.as_json(machine, rounds, rows))


@app.command()
def fidelity(
    episodes: Annotated[int, typer.Option(min=3, help="Interactions that every solver plays: a third of each task.")] = 240,
    robot: Annotated[str, typer.Option(help="jaw, panda or kuka.")] = "jaw",
    renderer: Annotated[str, typer.Option(help="auto, gl or tiny.")] = "auto",
    size: Annotated[int, typer.Option(min=16, help="Of the pictures, in which depth is looked up.")] = 128,
    markdown: Markdown = "",
    json_file: Json = "",
) -> None:
    """What the solver's shortcuts change: the same scenes and actions, played by each."""
    from embodied_ssl.benchmark import fidelity as measured
    from embodied_ssl.benchmark.tables import markdown_table, text_table
    from embodied_ssl.progress import shown
    from embodied_ssl.sim.collecting.command import resolved

    with shown("bench") as progress:
        rows = list(measured.compare(episodes, measured.scenes(size, robot, resolved(renderer)), progress))
    cells = measured.cells_of(rows)
    typer.echo("\n".join(text_table(cells)))
    _keep(markdown, "\n".join([*markdown_table(cells), ""]), json_file, measured.as_json(rows))


@app.command()
def determinism(
    episodes: Annotated[int, typer.Option(min=8, help="Interactions of the data set that is made again and again.")] = 48,
    kills: Annotated[int, typer.Option(min=0, help="How often it is killed while it is made.")] = 10,
    robot: Annotated[str, typer.Option(help="jaw, panda or kuka.")] = "jaw",
    renderer: Annotated[str, typer.Option(help="auto, gl or tiny.")] = "auto",
    markdown: Markdown = "",
    json_file: Json = "",
) -> None:
    """Whether simulated data are the same in any order, by any number of processes, after any number of kills."""
    import tempfile

    from embodied_ssl.benchmark import determinism as compared
    from embodied_ssl.benchmark.tables import markdown_table, text_table
    from embodied_ssl.progress import shown
    from embodied_ssl.sim.collecting.command import resolved

    spec = compared.data_set(robot, resolved(renderer), episodes)
    with shown("bench") as progress, tempfile.TemporaryDirectory(prefix="embodied-ssl-") as folder:
        rows = list(compared.compare(Path(folder), spec, kills, progress))
    cells = compared.cells_of(rows)
    typer.echo("\n".join(text_table(cells)))
    _keep(markdown, "\n".join([*markdown_table(cells), ""]), json_file, {"rows": [vars(row) for row in rows]})
    if not all(row.same for row in rows):
        raise typer.Exit(1)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _keep(markdown: str, table: str, json_file: str, value: Any) -> None:
    """Write what was asked for."""
    from embodied_ssl.files import atomic, write_json

    if markdown:
        with atomic(Path(markdown)) as file:
            file.write(table.encode())
    if json_file:
        write_json(Path(json_file), value)
