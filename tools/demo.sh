#!/usr/bin/env bash
# The demo: the impact list of a function of Debian's stock kernel.  `make demo` has installed what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

say "1. Debian's kernel source, the cloud flavour's configuration and headers (nothing is installed or built)"
paths=$(.venv/bin/python tools/debian_kernel.py stock)
read -r source build < <(
    .venv/bin/python -c 'import json, sys; p = json.loads(sys.argv[1]); print(p["source"], p["build"])' "$paths"
)
ln -sfn "$source" "$build/source" 2>/dev/null || true
cd "$build"
export PATH="$OLDPWD/.venv/bin:$PATH"

say "2. Which functions must be patched together with recalc_sigpending_tsk in kernel/signal.c?"
run klpkit impact recalc_sigpending_tsk

say "3. The same for a header's function, asked in one unit, as a table"
run klpkit impact fs/namei.c:may_follow_link --table

say "4. What no record shows of this unit, and which functions must not be called by their symbol"
run klpkit audit kernel/signal.c
