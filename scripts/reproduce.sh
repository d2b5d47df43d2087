#!/usr/bin/env bash
# Runs a plan as its numbers are published: see usage below.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: scripts/reproduce.sh PLAN

Builds the laboratory, examines this machine, runs PLAN, validates its files, and renews the generated tables.
PLAN is the name of a plan (quick, floor) or the path of a .toml file.

The run lands in results/runs/PLAN/MACHINE/; nothing is committed. Leave the machine alone while it runs.
Exit code: that of the first step that failed; 2 for wrong usage.
USAGE
}

refuse() {
    printf 'reproduce.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

announce() {
    printf '\n== %s\n' "$1" >&2
}

case ${1-} in
    -h | --help) usage; exit 0 ;;
    '') refuse 'no PLAN is given' ;;
    -*) refuse "there is no option $1" ;;
esac
(($# == 1)) || refuse "one PLAN at a time; the rest is not understood: ${*:2}"
plan=$1
if [[ $plan == */* || $plan == *.toml ]]; then
    [[ -r $plan ]] || refuse "the plan $plan cannot be read"
    plan=$(realpath "$plan")
fi
command -v cargo >/dev/null || refuse 'cargo is not on the PATH; install Rust as Cargo.toml asks for it (rust-version)'

cd "$(dirname "$0")/.."
if [[ -n $(git status --porcelain --untracked-files=no 2>/dev/null || echo unknown) ]]; then
    printf 'reproduce.sh: this is no clean checkout; run.json will say so\n' >&2
fi

announce build
cargo build --release
qlab=${CARGO_TARGET_DIR:-target}/release/qlab

announce 'this machine (heed every WARN before you publish)'
"$qlab" doctor

announce "plan $1"
"$qlab" run "$plan" --out results

announce 'files of all runs'
"$qlab" results validate results

announce 'generated tables (renewed where they were stale)'
"$qlab" book
