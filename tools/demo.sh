#!/usr/bin/env bash
# The demo: the impact list of a function of Debian's stock kernel.  `make demo` has installed what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() { printf '$ %s\n' "$*"; "$@"; }

say "1. Debian's kernel source, the cloud flavour's configuration and headers (no kernel is installed or built)"
paths=$(.venv/bin/python tools/debian_kernel.py stock)
build=$(.venv/bin/python -c 'import json, sys; print(json.loads(sys.argv[1])["build"])' "$paths")
export PATH="$PWD/.venv/bin:$PATH"
cd "$build"

say "2. What this kernel's flags let the compiler do between functions, and what of it no record shows"
run klpkit audit fs/namei.c | sed -n '1,/^on, and recorded/p' | sed '$d'

say "3. What must be patched with may_follow_link in fs/namei.c, as a table"
run klpkit impact fs/namei.c:may_follow_link --table

say "4. What must be patched with recalc_sigpending_tsk in kernel/signal.c"
run klpkit impact recalc_sigpending_tsk
