"""Compares the generator with the real figures, and `evaluate` with a second, simple implementation."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from authpulse import EXCERPT, REPOSITORY, refused, run
from evaluated import evaluated
from read_lake import Lake

LONG = "AUTHPULSE_LONG" in os.environ
MODEL = REPOSITORY / "crates" / "producer" / "model" / "derive.py"


def verdicts(result):
    counts = re.search(r"^(\d+) within, (\d+) off, (\d+) too short, (\d+) made up", result.stdout, re.MULTILINE)
    return [int(count) for count in counts.groups()]


@pytest.mark.parametrize("millions", [20, 100] if LONG else [1, 5])
def test_a_generated_file_keeps_the_real_figures(tmp_path, millions):
    file = tmp_path / "events.txt"
    run("generate", "--out", file, "--events", millions * 1_000_000, "--seed", 7)
    checked = run("generate", "--check", file)
    within, off, short, _ = verdicts(checked)
    assert off == 0, checked
    # Of the 39 figures that are checked, these need more events: nodes and pairs at four sizes, and from 20 M on eight of pace.
    assert (within, short) == {1: (25, 14), 5: (27, 12), 20: (37, 2), 100: (39, 0)}[millions], checked


def test_the_real_head_is_within_and_a_strange_file_is_not(tmp_path):
    real = REPOSITORY / "tests" / "data" / "lanl" / "auth9mo_head10k.txt.gz"
    within, off, _, _ = verdicts(run("generate", "--check", real))
    assert (within, off) == (23, 0), "13 of the head, 10 of the generator's own graph"
    # Half of the first 10,000 events is too short for any of their figures.
    assert verdicts(run("generate", "--check", EXCERPT))[0] == 10
    strange = tmp_path / "strange.txt"
    strange.write_text("".join(f"{second},U{second % 7},C1\n" for second in range(1, 20_000)) + "no line\n")
    checked = run("generate", "--check", strange)
    assert verdicts(checked)[1] > 8 and "1 lines are not time,user,computer" in checked.stdout, checked


def test_the_model_is_what_the_data_says():
    done = subprocess.run([sys.executable, MODEL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """A lake of eight days with attacks of all kinds, bad lines and copies; three labels have no row."""
    place = tmp_path_factory.mktemp("attacked")
    events, labels, lake = place / "events.txt", place / "labels.csv", place / "lake"
    words = ["--days", 8, "--users", 150, "--attacks", 16, "--red-team", "--bad", 20, "--duplicates", 0.01]
    run("generate", "--out", events, "--labels", labels, *words)
    rows = labels.read_text().splitlines()
    header = [row for row in rows if row.startswith("#")]
    counts = dict(row[2:].split("=") for row in header)
    # Two events of attacks come days late, and one label is of an event that never happened.
    late = [",".join(row.split(",")[2:]) for row in rows if ",red_team," in row][:2]
    kept = [line for line in events.read_text().splitlines() if line not in late]
    events.write_text("\n".join([*kept, *late]) + "\n")
    labels.write_text("\n".join([*rows, "99,burst,777,U1,C999999"]) + "\n")
    stream = f"local:{place / 'stream'}"
    run("replay", "--input", events, "--stream", stream, "--max")
    run("stream", "close", "--stream", stream)
    run("consume", "--stream", stream, "--lake", lake, "--seal")
    return lake, labels, counts


def test_trouble_comes_out_as_the_labels_say(attacked):
    lake, _, counts = attacked
    letters = Lake(lake).load("auth_events_rejected").scan(selected_fields=("reason",)).to_arrow()["reason"].to_pylist()
    assert letters.count("invalid") == int(counts["bad_lines"]) == 20
    assert letters.count("late") == 2
    # If the two lines that were moved to the end had copies, those are gone.
    copies = int(counts["duplicate_lines"])
    assert copies > 1_500 and letters.count("duplicate") in range(copies - 2, copies + 1)


def landed_of(place, name, *trouble):
    """The logons in the lake (who, where, when), its dead letters by reason, and the counts in the labels' header."""
    events, labels, lake = (place / f"{name}.{what}" for what in ("txt", "csv", "lake"))
    run("generate", "--out", events, "--labels", labels, "--days", 3, "--users", 100, "--seed", 3, *trouble)
    run("backfill", "--input", events, "--lake", lake)
    rows = Lake(lake).load("auth_events_curated").scan(selected_fields=("event_time", "user_id", "computer_id")).to_arrow()
    letters = Lake(lake).load("auth_events_rejected").scan(selected_fields=("reason",)).to_arrow()["reason"].to_pylist()
    counts = dict(row[2:].split("=") for row in labels.read_text().splitlines() if row.startswith("#"))
    return Counter(map(tuple, zip(*(column.to_pylist() for column in rows.columns)))), Counter(letters), counts


def test_disorder_clocks_and_spellings_come_out_of_a_lake_as_the_labels_say(tmp_path):
    plain, letters, _ = landed_of(tmp_path, "plain")
    assert plain.total() > 10_000 and not letters
    # Half a minute late is within the tolerance of five minutes: no row is missing or different.
    disordered, letters, counts = landed_of(tmp_path, "disordered", "--disorder", 30)
    assert int(counts["disordered_lines"]) > 100 and disordered == plain and not letters
    # Nothing merges spellings: each is a user of its own, on the same computer at the same time.
    spelled, letters, counts = landed_of(tmp_path, "spelled", "--spellings", 0.2)
    others = Counter({row: n for row, n in spelled.items() if not re.fullmatch(r"U\d+", row[1])})
    assert others.total() == int(counts["spelled_lines"]) > 100 and not letters
    folded = Counter()
    for (time, user, computer), n in spelled.items():
        folded[time, re.search(r"[Uu]\d+", user).group().upper(), computer] += n
    assert folded == plain and len({row[1] for row in others}) > int(counts["spelled_users"]) > 5
    # Events of a clock that is slow by more than the tolerance are late; after those of a fast clock, the others are late.
    skewed, letters, counts = landed_of(tmp_path, "skewed", "--skewed-clocks", 2)
    assert set(letters) == {"late"} and skewed.total() + letters["late"] == plain.total()
    assert 0 < (skewed - plain).total() <= int(counts["skewed_lines"])


@pytest.mark.parametrize("by", [["score"], ["rule", "NEW_DEVICE"], ["rule", "BURST_LOGIN"]])
def test_evaluate_says_what_a_dumb_reading_says(attacked, by):
    lake, labels, _ = attacked
    told = json.loads(run("evaluate", "--lake", lake, "--labels", labels, "--by", *by, "--json").stdout)
    for judged in (told, told["first_seen"], told["random"]):
        for budget in judged["budgets"]:
            budget["kinds"] = {(kind["kind"], kind["size"]): (kind["caught"], kind["of"]) for kind in budget["kinds"]}
        judged["average_precision"] = pytest.approx(judged["average_precision"], abs=1e-12)
    for name in ("first_seen", "random"):
        told[name].pop("by")
    expected = evaluated(Lake(lake).catalog, labels, by[0], by[1] if len(by) > 1 else None)
    assert expected == told
    assert sum(expected["not_landed"].values()) == 3 and expected["not_landed"]["not in the lake"] == 1, expected


def test_evaluate_prints_a_table(attacked):
    lake, labels, _ = attacked
    told = run("evaluate", "--lake", lake, "--labels", labels).stdout
    assert re.search(r"^\| score \| 100 \|", told, re.MULTILINE) and "| red_team, 1 |" in told, told
    assert "1 not landed: not in the lake" in told, told


def test_evaluate_says_what_it_cannot_use(attacked, tmp_path):
    lake, labels, _ = attacked
    empty = tmp_path / "empty.csv"
    empty.write_text("# seed=1\nattack,kind,time,user,computer\n")
    refused("evaluate", "--lake", lake, "--labels", empty, names=["has no label"])
    refused("evaluate", "--lake", lake, "--labels", EXCERPT, names=["cannot be used"])
    refused("evaluate", "--lake", lake, "--labels", tmp_path / "none.csv", names=["none.csv"])
    refused("evaluate", "--lake", lake, "--labels", labels, "--by", "rule", "NO_SUCH", names=["NO_SUCH"])
    refused("evaluate", "--lake", lake, "--labels", labels, "--by", "worst", names=["--by score"])


@pytest.mark.parametrize("profile", [None, "lanl-58", "simple"])
def test_a_demo_takes_the_shape_it_is_told(tmp_path, profile):
    shape = ["--profile", profile] if profile else []
    told = run("demo", *shape, "--events", 6_000, "--attacks", 4, "--lake", tmp_path / "lake").stdout
    assert "it adds up" in told and ("lateral_over_days" in told) == (profile != "simple"), told
    labels = tmp_path / "lake" / "demo" / "labels.csv"
    assert profile == "simple" or f"# profile={profile or 'lanl-9mo'}\n" in labels.read_text()
    # The commands that it suggests next work.
    assert f"evaluate --lake {tmp_path / 'lake'} --labels {labels}" in told, told
    assert "| score | 20 |" in run("evaluate", "--lake", tmp_path / "lake", "--labels", labels).stdout
