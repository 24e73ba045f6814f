#!/bin/busybox sh
# First and only program of the guest.  It reports on a serial port of its own, because the kernel writes its log in
# the middle of other lines.  What it is to do stands in /klpkit/settings:
#   before, after    modules to load before and after the patch, in this order
#   patch            name of the patch module, empty for none
#   check            1 when there is a check script
#   cycles           how often to load and revert the patch under activity, 0 for never
#   patience         seconds that a transition may take
/bin/busybox mkdir -p /proc /sys /tmp /root
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null && mkdir -p /dev/shm /dev/pts
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
[ -e /dev/null ] || mknod /dev/null c 1 3
[ -e /dev/report ] || mknod /dev/report c "$(cat /klpkit/report | cut -d, -f1)" "$(cat /klpkit/report | cut -d, -f2)"
. /klpkit/settings
exec 3>/dev/report
stty -F /dev/report raw -echo 2>/dev/null
state=/sys/kernel/livepatch/$patch

say() { read -r now rest </proc/uptime; echo "$now $*" >&3; }

run_check() {
    [ "$check" = 1 ] || return 0
    KLPKIT_STATE=$1 sh /klpkit/check "$1" >/tmp/output 2>&1 </dev/null
    status=$?
    while IFS= read -r line || [ -n "$line" ]; do say "output $1 $line"; done </tmp/output
    say "check $1 $status"
}

load() {
    insmod "/klpkit/modules/$1.ko" 2>/tmp/output
    status=$?
    while IFS= read -r line; do say "output load-$1 $line"; done </tmp/output
    say "load $1 $status"
    return $status
}

in_transition() { [ "$(cat "$state/transition" 2>/dev/null)" = 1 ]; }

# Wait while "$1" says yes; tell of the tasks that hold a transition back when it takes too long.
wait_while() {
    rounds=0
    while "$1"; do
        rounds=$((rounds + 1))
        if [ $rounds -gt $((patience * 10)) ]; then
            blockers
            return 1
        fi
        sleep 0.1
    done
}

blockers() {
    goal=$(cat "$state/enabled")
    for task in /proc/[0-9]*/task/[0-9]*; do
        [ "$(cat "$task/patch_state" 2>/dev/null)" = "$goal" ] && continue
        say "blocker $(cat "$task/comm") $(sed 's/^\[<0>\] //' "$task/stack" 2>/dev/null | tr '\n' ' ')"
    done
}

is_there() { [ -e "$state" ]; }

put_in() {
    load "$patch" || return 1
    wait_while in_transition
    say "transition in $?"
}

take_out() {
    echo 0 >"$state/enabled" || { say "disable $?"; return 1; }
    wait_while is_there
    status=$?
    say "transition out $status"
    [ $status = 0 ] || return 1
    rounds=0
    until rmmod "$patch" 2>/tmp/output; do
        rounds=$((rounds + 1))
        [ $rounds -lt 50 ] || break
        sleep 0.1
    done
    [ ! -e "/sys/module/$patch" ]
    say "unload $patch $?"
}

activity() {
    while :; do cat /proc/[0-9]*/stat /proc/meminfo /proc/vmstat /proc/mounts; done >/dev/null 2>&1 &
    while :; do find /sys/kernel /sys/module -type f; done >/dev/null 2>&1 &
    while :; do dd if=/dev/zero of=/tmp/filled bs=64k count=16; sync; rm -f /tmp/filled; done >/dev/null 2>&1 &
    while :; do sh -c 'echo | cat | cat | cat'; sleep 0.01; done >/dev/null 2>&1 &
}

say "start $(uname -r)"
for module in $before; do load "$module"; done
run_check original
if [ -n "$patch" ] && put_in; then
    for module in $after; do load "$module"; done
    run_check patched
    take_out && run_check reverted
    if [ "$cycles" -gt 0 ]; then
        activity
        cycle=0
        while [ $cycle -lt "$cycles" ]; do
            put_in && take_out || break
            cycle=$((cycle + 1))
        done
        say "cycles $cycle"
        [ "$cycle" = 0 ] || run_check reverted
    fi
fi
say "tainted $(cat /proc/sys/kernel/tainted 2>/dev/null || echo 0)"
say "end"
sync
# The kernel may have no power off; QEMU ends at a reboot.
sleep 0.2
reboot -f
