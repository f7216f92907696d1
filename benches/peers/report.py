"""The table: medians over the rounds, and each row's CPU against HAProxy's."""

import json
from dataclasses import asdict
from statistics import median

TITLES = {
    "plain": "Plain proxying (the token is sent, nobody looks at it)",
    "auth": "RS256, limit by user, identity headers: one token, repeated",
    "fresh": "RS256, limit by user, identity headers: a new token each request",
}
HEADINGS = ("", "req/s", "CPU µs/req", "(min - max)", "p50 µs", "p99 µs", "RSS MiB", "with 1,000 conn.", "CPU / HAProxy plain", "CPU / HAProxy here")


def summary(runs, crowds):
    """{case: {row: medians}} of {(case, row): [Measured]} and {(case, row): MiB}."""
    told = {}
    for (case, row), rounds in runs.items():
        columns = [asdict(one) for one in rounds]
        medians = {name: median(column[name] for column in columns) for name in columns[0]}
        cpu = [column["cpu_us"] for column in columns]
        told.setdefault(case, {})[row] = {
            **medians, "cpu_us_min": min(cpu), "cpu_us_max": max(cpu), "rss_mib_1000_connections": crowds[case, row], "rounds": len(rounds),
        }
    return told


def table(told):
    """The summary for people."""
    plain = told.get("plain", {}).get("HAProxy")
    lines = []
    for case, rows in told.items():
        cells = [HEADINGS]
        for name, row in rows.items():
            cells.append((
                name,
                f"{row['requests_per_second']:,.0f}",
                f"{row['cpu_us']:.1f}",
                f"{row['cpu_us_min']:.1f} - {row['cpu_us_max']:.1f}",
                f"{row['p50_us']:,.0f}",
                f"{row['p99_us']:,.0f}",
                f"{row['rss_mib']:.0f}",
                f"{row['rss_mib_1000_connections']:.0f}",
                ratio(row, plain),
                ratio(row, rows.get("HAProxy")),
            ))
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines += ["", TITLES[case], ""]
        lines += ["  ".join(cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in cells]
    return "\n".join(lines)


def ratio(row, other):
    return f"{row['cpu_us'] / other['cpu_us']:.2f}" if other else "-"


def write_json(path, told, setting):
    path.write_text(json.dumps({"setting": setting, "cases": told}, indent=1) + "\n")
