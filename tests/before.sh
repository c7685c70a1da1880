#!/usr/bin/env bash
# Builds the program of the commit that tests/data/shape-before/COMMIT names, and prints where it is:
#
#   AUTHPULSE_BEFORE="$(tests/before.sh)"
#
# It is built once, out of this repository's history, in the directory `before` of the target directory; what it shares with
# the program of now is not compiled again. Takes some minutes the first time. Where AUTHPULSE_BEFORE names a program already,
# that one is printed and nothing is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "tests/before.sh: $1" >&2
  exit 2
}

if [ -n "${AUTHPULSE_BEFORE:-}" ]; then
  [ -x "$AUTHPULSE_BEFORE" ] || fail "AUTHPULSE_BEFORE names $AUTHPULSE_BEFORE, which is no program"
  echo "$AUTHPULSE_BEFORE"
  exit 0
fi

commit="$(cat tests/data/shape-before/COMMIT)"
target="${CARGO_TARGET_DIR:-$PWD/target}"
mkdir -p "$target/before"
target="$(cd "$target" && pwd)"
program="$target/before/authpulse-$commit"

# Two at once would build into each other.
exec 9> "$target/before/lock"
if command -v flock > /dev/null; then
  flock 9
fi

if [ ! -x "$program" ]; then
  git cat-file -e "$commit^{commit}" 2> /dev/null ||
    fail "commit $commit is not in this clone: a shallow one is completed by git fetch --unshallow"
  source="$target/before/source"
  rm -rf "$source"
  mkdir -p "$source"
  git archive "$commit" | tar -x -C "$source"
  # The program of now has the same name in the same directory: it stands aside meanwhile, whatever happens.
  now="$target/release/authpulse" aside="$target/before/now"
  if [ -e "$now" ]; then
    mv "$now" "$aside"
  fi
  trap 'if [ -e "$aside" ]; then mv -f "$aside" "$now"; fi' EXIT
  (cd "$source" &&
    CARGO_TARGET_DIR="$target" cargo build --release --locked --workspace --features authpulse/aws --bin authpulse >&2)
  mv "$now" "$program.made"
  mv "$program.made" "$program"
  rm -rf "$source"
fi
echo "$program"
