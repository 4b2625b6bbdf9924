"""The result of `vpr compare` as text."""

from vprlib.cli.output import aligned
from vprlib.pipeline.params import JsonObject

SHOWN = 6  # differing parameters that are printed


def pairs_report(answer: JsonObject, with_names: bool) -> str:
    """The recall of each run, then each other run compared with the first."""
    runs = answer["runs"]
    letters = [chr(ord("A") + at) if at < 26 else str(at) for at in range(len(runs))]
    names = [name for name in runs[0] if name != "name"]
    rows = [["", *names]]
    for letter, run in zip(letters, runs, strict=True):
        found = [run[name] for name in names]
        shares = (f"{_percent(f['value'])} {_ends(f['low'], f['high'])}" for f in found)
        rows.append([f"{letter}  {run['name']}", *shares])
    lines = [_title(answer), "", aligned(rows)]
    for letter, pair in zip(letters[1:], answer["pairs"], strict=True):
        lines += ["", *_pair(letter, pair)]
        if with_names:
            lines += [f"  {kind} {q['name']}" for kind in ("gained", "lost") for q in pair[kind]]
    return "\n".join(lines)


def seeds_report(answer: JsonObject) -> str:
    """Mean, spread and both confidence intervals of each recall."""
    rows = [["", "mean", "spread", "over seeds", "over places", *answer["runs"]]]
    for name, found in answer["recalls"].items():
        rows.append(
            [
                name,
                _percent(found["mean"]),
                f"{100 * found['spread']:.2f}",
                _ends(found["seeds_low"], found["seeds_high"]),
                _ends(found["places_low"], found["places_high"]),
                *map(_percent, found["values"]),
            ]
        )
    seeds = [f"{place}: {', '.join(map(str, v))}" for place, v in answer["seeds"].items()]
    return "\n".join([_title(answer), *seeds, "", aligned(rows)])


def _title(answer: JsonObject) -> str:
    radius = "" if answer["radius_m"] is None else f", {answer['radius_m']:g} m"
    is_part = answer["denominator"] != "all"
    counted = f", {answer['counted']} of them answerable," if is_part else ""
    return (
        f"{answer['set']}, {answer['protocol']}{radius}: {answer['queries']} queries{counted} at"
        f" {answer['locations']} locations, {100 * answer['interval_level']:g} % intervals"
    )


def _pair(letter: str, pair: JsonObject) -> list[str]:
    differences = pair["differences"]
    rows = [
        ["", f"{letter} − A", "interval", "p", "gained", "lost", "both right", "both wrong"],
        *(
            [
                name,
                f"{100 * d['value']:+.1f}",
                f"[{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]",
                f"{d['p']:.4f}",
                *(str(d[kind]) for kind in ("gained", "lost", "both_right", "both_wrong")),
            ]
            for name, d in differences.items()
        ),
    ]
    notes = [_ranks(pair["ranks"])]
    if pair["same_predictions"]:
        notes.append("every query has the same results in the same order")
    if pair["database"] is not None:
        notes.append(f"the databases differ: {pair['database']}")
    changed = [f"{key} {old} → {new}" for key, (old, new) in pair["params"].items()]
    more = [f"and {len(changed) - SHOWN} more"] if len(changed) > SHOWN else []
    if changed:
        notes.append(f"params.yaml: {'; '.join([*changed[:SHOWN], *more])}")
    return [aligned(rows), *notes]


def _ranks(ranks: JsonObject) -> str:
    median = "" if ranks["median"] is None else f"; median change {ranks['median']:+g}"
    return (
        f"rank of the first right image among {ranks['kept']}: better for {ranks['up']} queries"
        f" ({ranks['found']} had none), worse for {ranks['down']} ({ranks['lost']} have none"
        f" now), the same for {ranks['same']}{median}"
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _ends(low: float, high: float) -> str:
    return f"[{_percent(low)}, {_percent(high)}]"
