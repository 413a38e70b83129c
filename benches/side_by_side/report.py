"""Medians with their range, in tables, between two marks of benches/RESULTS.md."""
import datetime, os, statistics
import machine, measure, peers, scenarios

RESULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../RESULTS.md")
BEGIN, END = "<!-- Figures of the last run: run.py writes from here -->", "<!-- to here -->"
EQUAL_SIZE = 1.05                  # level 6 is compared with those whose output is no larger than this times ours


def figures(rows, arguments, versions):
    parts = [_head(rows, arguments, versions)]
    for workers in arguments.workers:
        place = "One worker, on a core of its own" if workers == 1 else "Two workers, which share both cores with the load and the origin"
        parts.append(_table(f"{place}: CPU time for each pull", rows, arguments, workers, "us"))
        if workers == 1:
            parts.append(_table(f"{place}: p99 at a fixed rate", rows, arguments, workers, "p99_us"))
    parts.append(_table("Memory", rows, arguments, arguments.workers[0], "kib"))
    parts.append(_notes(rows))
    return "\n\n".join(part for part in parts if part)


def around():
    """What stands before and after the figures, written by hand."""
    with open(RESULTS) as file:
        text = file.read()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"{os.path.normpath(RESULTS)} wants these two lines once each, in this order:\n{BEGIN}\n{END}")
    return text.split(BEGIN)[0], text.split(END)[1]


def write(text):
    before, after = around()
    with open(RESULTS, "w") as out:
        out.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _head(rows, arguments, versions):
    day = datetime.datetime.now(datetime.timezone.utc).date()
    readings = [row["foreign"] for row in rows if "foreign" in row]
    disturbed = sum(foreign >= measure.DISTURBED for foreign in readings)
    named = ", ".join(f"{peers.PEERS[name].NAME} {version}" for name, version in versions.items())
    return (f"{day}, {named}; {machine.description()}. {arguments.rounds} round{'s' * (arguments.rounds > 1)} of {arguments.seconds:g} s; "
            "medians, with their range; the last column is Headwater's median by the best peer's, and below 1 is ahead. "
            f"{disturbed or 'None'} of {len(readings)} measurements {'was' if disturbed == 1 else 'were'} disturbed by other work on the machine.")


def _table(title, rows, arguments, workers, key):
    lines = []
    for scenario in arguments.only:
        values = {name: [row[key] for row in rows if key in row and (row["scenario"], row["workers"], row["peer"]) == (scenario.name, workers, name)]
                  for name in arguments.peers}
        if not any(values.values()):
            continue
        sizes = {row["peer"]: row["bytes"] for row in rows if row["scenario"] == scenario.name and "bytes" in row}
        cells = [_cell(values[name], key) + (f", {sizes[name]:,} B" if key == "us" and values[name] and name in sizes else "")
                 for name in arguments.peers]
        rate = f", {scenario.rate:,} a second" if key == "p99_us" else ""
        lines.append(f"| {scenario.title}{rate} | " + " | ".join(cells) + f" | {_against(values, sizes if scenario.level == 6 else {})} |")
    if not lines:
        return ""
    names = [peers.PEERS[name].NAME for name in arguments.peers]
    return "\n".join([f"### {title}", "", f"| | {' | '.join(names)} | to the best peer |", "|---" * (len(names) + 2) + "|", *lines])


def _cell(values, key):
    if not values:
        return "-"
    middle = statistics.median(values)
    if key == "kib":
        unit, scale = "MiB", 1024
    else:
        unit, scale = ("ms", 1000) if middle >= 1000 else ("us", 1)
    digits = 0 if middle / scale >= 100 else 2 if middle / scale < 1 else 1
    low, high = (f"{value / scale:.{digits}f}" for value in (min(values), max(values)))
    return f"{middle / scale:.{digits}f} {unit}" + (f" ({low}-{high})" if len(values) > 1 else "")


def _against(values, sizes):
    """Headwater's median by that of the best peer whose output is not larger."""
    ours = values.get("headwater")
    rivals = {name: statistics.median(theirs) for name, theirs in values.items() if theirs and name != "headwater"
              and sizes.get(name, 0) <= sizes.get("headwater", 0) * EQUAL_SIZE}
    if not ours or not rivals:
        return "-"
    best = min(rivals, key=rivals.get)
    return f"{statistics.median(ours) / max(rivals[best], 1e-9):.2f}x {peers.PEERS[best].NAME}"


def _notes(rows):
    """Why a cell says "-"."""
    reasons = {}
    for row in rows:
        for kind in ("lacks", "failed"):
            if kind in row:
                said = row[kind] if kind == "lacks" else f"a measurement failed: {row[kind]}"
                names = reasons.setdefault((peers.PEERS[row["peer"]].NAME, said), [])
                if row["scenario"] not in names:
                    names.append(row["scenario"])
    titles = {scenario.name: scenario.title for scenario in scenarios.SCENARIOS}
    lines = [f"- {name} ({'; '.join(titles[scenario] for scenario in which)}): {said}." for (name, said), which in reasons.items()]
    return "Why a cell says \"-\", or has fewer rounds:\n\n" + "\n".join(lines) if lines else ""
