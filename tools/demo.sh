#!/usr/bin/env bash
# The demo, on Debian's stock kernel: an impact list, then a fix that becomes a live patch, is loaded in a virtual
# machine, seen to work and taken out again.  `make demo` has installed what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() { printf '$ %s\n' "$*"; "$@"; }
field() { .venv/bin/python -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$paths" "$1"; }

say "1. Debian's kernel: source, configuration, headers, image (nothing of it is installed or built)"
paths=$(.venv/bin/python tools/debian_kernel.py stock)
build=$(field build) source=$(field source) headers=$(field headers)
paths=$(.venv/bin/python tools/debian_kernel.py image)
image=$(field image) modules=$(field modules)
export PATH="$PWD/.venv/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$build"

say "2. What this kernel's flags let the compiler do between functions, and what of it no record shows"
run klpkit audit fs/namei.c | sed -n '1,/^on, and recorded/p' | sed '$d'

say "3. What must be patched with may_follow_link in fs/namei.c, as a table"
run klpkit impact fs/namei.c:may_follow_link --table

say "4. What must be patched with recalc_sigpending_tsk in kernel/signal.c"
run klpkit impact recalc_sigpending_tsk

say "5. A fix: /proc/cmdline is to say that it was patched"
file=fs/proc/cmdline.c
sed 's/^\(\s*\)seq_puts(m, saved_command_line);/\1seq_puts(m, "live-patched ");\n&/' "$source/$file" >"$work/fixed.c"
diff -u --label "a/$file" --label "b/$file" "$source/$file" "$work/fixed.c" | tee "$work/fix.patch" || true

say "6. The fix as a live patch for the kernel image that Debian ships"
cd "$work"
target="--image $image --modules $modules --headers $headers"
# shellcheck disable=SC2086 # options and their values
run klpkit build fix.patch --build "$build" $target -o livepatch-fix.ko

say "7. That kernel in a virtual machine: before, with the patch, and after it was taken out again"
cat >check.sh <<'END'
cat /proc/cmdline
grep -q live-patched /proc/cmdline; found=$?
case $1 in patched) exit $found ;; *) [ $found != 0 ] ;; esac
END
run cat check.sh
run klpkit boot --kernel "$image" --module livepatch-fix.ko --check check.sh
