#!/usr/bin/env python3
"""Draws the pictures of docs/generator.md: LANL's nine months beside what `authpulse generate` writes.

    docs/generator/draw.py PROGRAM        some two minutes; writes rate.svg, pairs.svg and degrees.svg beside this file

Standard library only. Grey is real (tests/data/lanl), colour is ours.
"""

import collections
import csv
import gzip
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "tests" / "data" / "lanl"
DAYS = 14
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 260, 62, 14, 30, 40
REAL, OURS = "#9a9a9a", "#c2410c"


class Picture:
    def __init__(self, title, x, y, x_label, y_label, log_x=False, log_y=False):
        self.x, self.y, self.log_x, self.log_y = x, y, log_x, log_y
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            f'<text x="{LEFT}" y="17" font-size="13">{title}</text>',
            f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{x_label}</text>',
            f'<text x="12" y="{TOP + 4}" transform="rotate(-90 12 {TOP + 4})" text-anchor="end">{y_label}</text>',
            f'<text x="{WIDTH - RIGHT - 90}" y="17" fill="{REAL}">real</text>',
            f'<text x="{WIDTH - RIGHT - 50}" y="17" fill="{OURS}">generated</text>',
        ]

    def at(self, x, y):
        def part(value, ends, log):
            low, high = (math.log10(e) if log else e for e in ends)
            return ((math.log10(max(value, ends[0])) if log else value) - low) / (high - low)

        across, up = part(x, self.x, self.log_x), part(y, self.y, self.log_y)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def ticks(self, xs, ys):
        for value, text in xs:
            x, y = self.at(value, self.y[0])
            self.parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{y:.1f}" stroke="#eee"/>')
            self.parts.append(f'<text x="{x:.1f}" y="{y + 14:.1f}" text-anchor="middle">{text}</text>')
        for value, text in ys:
            x, y = self.at(self.x[0], value)
            self.parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#eee"/>')
            self.parts.append(f'<text x="{x - 4:.1f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')

    def line(self, points, colour, width=1.5):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def dots(self, points, colour):
        for x, y in (self.at(*point) for point in points):
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')

    def write(self, name):
        (HERE / name).write_text("\n".join([*self.parts, "</svg>"]) + "\n")


def generated(program):
    """Events of each hour, and pairs after each million."""
    words = [program, "generate", "--out", "-", "--days", str(DAYS), "--seed", "1"]
    hours, pairs, growth = collections.Counter(), set(), []
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for number, line in enumerate(process.stdout, 1):
        time, _, pair = line.partition(b",")
        hours[int(time) // 3600] += 1
        pairs.add(pair)
        if number % 1_000_000 == 0:
            growth.append((number / 1e6, len(pairs)))
    if process.wait():
        sys.exit(f"{' '.join(words)} failed")
    return hours, growth


def quantiles(program):
    """Of the generator's whole graph, as `--check` prints them: {side: {percent: degree}}."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("1,U1,C1\n2,U1,C2\n")
        file.flush()
        told = subprocess.run([program, "generate", "--check", file.name], capture_output=True, text=True, check=True).stdout
    found = collections.defaultdict(dict)
    for side, percent, figures in re.findall(r"whole graph: (.*?), (\d+) %\s+(.*)", told):
        found[side][int(percent)] = int(figures.split()[1].replace(",", ""))
    return found


def main():
    program = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    chunks = list(csv.DictReader(open(DATA / "auth9mo_million_event_chunks.csv")))
    hours, growth = generated(program)

    week = Picture("events a second, the second week", (7, 14), (0, 70), "day", "events/s")
    week.ticks([(day, str(day)) for day in range(7, 15)], [(rate, str(rate)) for rate in range(0, 80, 20)])
    real, start = [], 0
    for chunk in chunks:
        seconds = int(chunk["elapsed_seconds"])
        ends = start / 86_400, (start + seconds) / 86_400
        if ends[1] > 7 and ends[0] < 14:
            real += [(max(7, min(14, end)), 1e6 / seconds) for end in ends]
        start += seconds
    week.line([point for hour in range(168, 336) for point in ((hour / 24, hours[hour] / 3600), ((hour + 1) / 24, hours[hour] / 3600))], OURS, 1)
    week.line(real, REAL, 2.5)
    week.write("rate.svg")

    last = len(growth)
    pairs = Picture("pairs of user and computer met so far", (0, last), (0, 90_000), "million events", "pairs")
    pairs.ticks([(m, str(m)) for m in range(0, last + 1, 5)], [(n, f"{n:,}") for n in range(0, 90_001, 30_000)])
    pairs.line([(n + 1, int(chunk["cumulative_pairs"])) for n, chunk in enumerate(chunks[:last])], REAL, 4)
    pairs.line(growth, OURS, 1)
    pairs.write("pairs.svg")

    degrees = Picture("share of nodes with at most so many neighbours, whole graph", (1, 10_000), (0, 100), "neighbours", "% of nodes", log_x=True)
    degrees.ticks([(10**n, f"{10**n:,}") for n in range(5)], [(p, str(p)) for p in range(0, 101, 25)])
    with gzip.open(DATA / "auth9mo_user_computer_pairs.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    found = quantiles(program)
    for column, side in (("user", "computers by user"), ("computer", "users by computer")):
        sorted_degrees = sorted(collections.Counter(row[column] for row in rows).values())
        count = len(sorted_degrees)
        steps = [(sorted_degrees[min(count - 1, count * p // 200)], p / 2) for p in range(201)]
        degrees.line(steps, REAL, 2.5)
        degrees.dots([(degree, percent) for percent, degree in found[side].items()], OURS)
        x, y = degrees.at(*steps[130])
        degrees.parts.append(f'<text x="{x + 8:.1f}" y="{y + 12:.1f}">{side}</text>')
    degrees.write("degrees.svg")


if __name__ == "__main__":
    main()
