"""The report of a simulation: one HTML page with its plots that opens offline, on a phone as well."""

from __future__ import annotations

from html import escape
from importlib.metadata import version
from importlib.resources import files
from string import Template

from .page import Cell, card, page, table
from .plots import LINES, plots, score_names
from .progress import TITLES, number, percent
from .results import Results, final


def html(results: Results) -> str:
    """The page. Everything it shows is in it; it loads nothing."""
    chosen = results.federation.settings
    attack = f"{chosen.hostile} of {chosen.clients} clients hostile" if chosen.hostile else f"{chosen.clients} clients"
    template = Template(files("hawthorn.scripts").joinpath("report.html").read_text(encoding="utf-8"))
    body = template.substitute(
        heading=escape(f"{chosen.task}: {chosen.attack if chosen.hostile else 'no attack'}"),
        summary=escape(f"{results.federation.task.describe}; {attack}"),
        settings="".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in _settings(results)
        ),
        explanation=escape(_explanation(results)),
        figures_table=_figures(results),
        stopped="".join(
            f'<p class="stopped">{TITLES[name]} stopped in {escape(run.stopped)}</p>'
            for name, run in results.runs.items()
            if run.stopped
        ),
        detection_table=_detection(results),
        accuracy=card("Accuracy on the test set", "accuracy", _key(results)),
        success=card("Attack success", "success", _key(results)) if _has_success(results) else "",
        scores="".join(card(name, f"score-{name}") for name in score_names(results)),
        reasons_table=_reasons(results),
    )
    title = f"Hawthorn: {chosen.task}, {chosen.attack if chosen.hostile else 'no attack'}"
    return page(title, body, plots(results), f"hawthorn {version('hawthorn')}, {results.engine} engine")


def _key(results: Results) -> str:
    # Plotly's own legend covers the lines once it wraps on a narrow screen.
    names = (f'<span style="--of: {LINES[name]["color"]}">{escape(TITLES[name])}</span>' for name in results.runs)
    return f'<div class="key lines">{"".join(names)}</div>'


def _has_success(results: Results) -> bool:
    return any(value is not None for run in results.runs.values() for value in run.attack_success)


def _settings(results: Results) -> list[tuple[str, str]]:
    heading, unset = {"task", "attack"}, {"local_steps": 0, "data": ""}
    shown = {name: value for name, value in results.settings.items() if name not in heading}
    return [(name.replace("_", " "), str(value)) for name, value in shown.items() if unset.get(name) != value]


def _explanation(results: Results) -> str:
    runs = "Each run starts from the same model and the same data; figures are means over the last three rounds."
    if not results.federation.hostile:
        return f"{runs} Nobody attacks here, so what separates the two runs is the price of the hedge."
    return f"{runs} The defended run can hardly be better than the average of the honest clients only."


def _figures(results: Results) -> str:
    rows: list[tuple[str, list[Cell]]] = []
    for name, run in results.runs.items():
        figures = [percent(final(values)) for values in (run.accuracy, run.worst_class_recall, run.attack_success)]
        seconds = f"{run.seconds / run.rounds:.2f} s" if run.rounds else "-"
        cells = [(escape(TITLES[name]), ""), *((figure, "number") for figure in [*figures, seconds])]
        rows.append(("chosen" if name == "defended" else "", cells))
    heads = [
        ("run", ""),
        *((head, "number") for head in ("accuracy", "worst class recall", "attack success", "a round took")),
    ]
    return table(heads, rows)


def _detection(results: Results) -> str:
    found = results.detection
    rows: list[tuple[str, list[Cell]]] = [
        ("", [(percent(found.precision), "number"), ("of the rejected contributions were hostile (precision)", "")]),
        ("", [(percent(found.recall), "number"), ("of the hostile contributions were rejected (recall)", "")]),
        (
            "",
            [
                (percent(found.false_alarm_rate), "number"),
                ("of the honest contributions were rejected (false alarms)", ""),
            ],
        ),
        (
            "",
            [
                (number(found.auroc), "number"),
                ("chance that a hostile contribution looks worse than an honest one (AUROC)", ""),
            ],
        ),
    ]
    return table([], rows)


def _reasons(results: Results) -> str:
    rows: list[tuple[str, list[Cell]]] = []
    for client in results.clients:
        truth = "hostile" if client.hostile else "honest"
        examples = [reply for reply in results.contributions if reply.client == client.client and not reply.accepted]
        example = f"round {examples[-1].round}: {examples[-1].reason}" if examples else ""
        cells = [(client.client, "number"), (truth, truth), (f"{client.rejected} of {client.replies}", "number")]
        rows.append(("", [*cells, (escape(client.usual_reason), ""), (escape(example), "")]))
    heads = [("client", "number"), ("truth", ""), ("rejected", "number"), ("usual reason", ""), ("last time", "")]
    return table(heads, rows)
