#!/usr/bin/env bash
# Three hosts on one machine, for the tests of mpirun over a network: each has a network namespace of its own with a
# real interface on a bridge, its own name, IPC and shared memory, so that Open MPI talks TCP between them. Root only.
#
# usage: hosts.sh start DIR [N]              makes N hosts (3), h1 .. hN; what it keeps is in DIR
#        hosts.sh run DIR HOST COMMAND...    COMMAND on that host
#        hosts.sh mpirun DIR RANKS ARG...    mpirun on h1, RANKS on each host ("2", or "2,1,3"); ARG: its own and the program
#        hosts.sh cut DIR HOST               takes the host's cable out: nobody is told anything
#        hosts.sh heal DIR HOST              puts it in again
#        hosts.sh slow DIR HOST WORD...      a bad network to and from it, in words of tc: 'netem delay 50ms loss 1%' where the
#                                            kernel has it (exit 77 where not), 'tbf rate 1mbit burst 16kb latency 2s' anywhere
#        hosts.sh kill DIR HOST              takes its power: cable first, then every process on it
#        hosts.sh pids DIR HOST              its processes
#        hosts.sh stop DIR                   ends all of it
#        hosts.sh missing                    prints what keeps it from running here; nothing: it can
# Only h1 sees what stands in DIR/h1: the other hosts have an empty folder there, as without a shared file system.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

die() { echo "hosts.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$here/hosts.sh"; exit "${1:-2}"; }

missing() {
  [ "$(id -u)" = 0 ] || { echo "not root"; return; }
  local program
  for program in ip tc nsenter unshare mpirun; do
    command -v "$program" >/dev/null || { echo "no $program"; return; }
  done
  local name=llmc-try-$$
  ip netns add "$name" 2>/dev/null || { echo "no network namespaces"; return; }
  ip -n "$name" link add llmc-try0 type veth peer name llmc-try1 2>/dev/null || echo "no virtual network interfaces"
  ip netns del "$name"
}

# Names and addresses follow from the folder, so that several sets of hosts can stand side by side.
load() {
  [ -e "$dir/id" ] || die "$dir: no hosts were started there"
  id=$(cat "$dir/id")
  count=$(cat "$dir/count")
  net=10.$((77 + 0x${id:0:1})).$((0x${id:1:2}))
}
namespace() { echo "llmc-$id-$1"; }
known() { [ -e "$dir/$1.pid" ] || die "no host '$1'"; }

start() {
  [ ! -e "$dir/id" ] || die "$dir: was started and not stopped"
  count=${1:-3}
  printf '%s' "$dir" | sha256sum | cut -c1-6 >"$dir/id"
  echo "$count" >"$dir/count"
  load
  mkdir -p "$dir/h1"
  ip link add "lb$id" type bridge
  ip link set "lb$id" up
  ip addr add "$net.254/24" dev "lb$id"
  local i host
  { echo "127.0.0.1 localhost"; for ((i = 1; i <= count; ++i)); do echo "$net.$i h$i"; done; } >"$dir/hosts"
  for ((i = 1; i <= count; ++i)); do
    host=h$i
    ip netns add "$(namespace $host)"
    ip link add "lv$id$i" type veth peer name eth0 netns "$(namespace $host)"
    ip link set "lv$id$i" master "lb$id" up
    ip -n "$(namespace $host)" addr add "$net.$i/24" dev eth0
    ip -n "$(namespace $host)" link set eth0 up
    ip -n "$(namespace $host)" link set lo up
    ip netns exec "$(namespace $host)" unshare --uts --ipc --mount bash -c '
      hostname "$1"
      mount --make-rprivate /
      mount -t tmpfs none /dev/shm
      mount --bind "$2/hosts" /etc/hosts
      [ "$1" = h1 ] || mount -t tmpfs none "$2/h1"
      : >"$2/$1.up"
      exec sleep infinity' host "$host" "$dir" >"$dir/$host.log" 2>&1 </dev/null &
    echo $! >"$dir/$host.pid"
  done
  # Where ssh would be. Of a host that has lost its power ssh hears nothing: it stays.
  cat >"$dir/rsh" <<RSH
#!/usr/bin/env bash
while [[ \$1 == -* ]]; do shift; done
host=\$1
shift
"$here/hosts.sh" run "$dir" "\$host" sh -c "\$*"
code=\$?
[ -e "$dir/\$host.dead" ] && exec sleep infinity
exit \$code
RSH
  chmod +x "$dir/rsh"
  for ((i = 1; i <= count; ++i)); do
    for _ in $(seq 100); do [ -e "$dir/h$i.up" ] && continue 2; sleep 0.05; done
    cat "$dir/h$i.log" >&2
    die "h$i did not come up"
  done
}

run() {
  known "$1"
  local host=$1
  shift
  exec nsenter -t "$(cat "$dir/$host.pid")" --net --uts --ipc --mount --wdns="$PWD" -- "$@"
}

mpi() {
  local each=$1 hosts='' i
  shift
  local ranks=()
  IFS=, read -ra ranks <<<"$each"
  for ((i = 1; i <= count; ++i)); do hosts+=,h$i:${ranks[$((i - 1))]:-${ranks[0]}}; done
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
  export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
  export OMPI_MCA_btl_tcp_if_include=$net.0/24 OMPI_MCA_oob_tcp_if_include=$net.0/24 OMPI_MCA_orte_tmpdir_base=/dev/shm
  export OMPI_MCA_btl_vader_single_copy_mechanism=none
  run h1 mpirun --mca plm rsh --mca plm_rsh_agent "$dir/rsh" --host "${hosts#,}" "$@"
}

end_processes() {
  local pids
  for _ in 1 2 3; do
    pids=$(ip netns pids "$(namespace "$1")" 2>/dev/null) || true
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
}

stop() {
  local i
  for ((i = 1; i <= count; ++i)); do
    end_processes "h$i"
    ip netns del "$(namespace "h$i")" 2>/dev/null || true
    ip link del "lv$id$i" 2>/dev/null || true
    rm -f "$dir/h$i.pid" "$dir/h$i.up" "$dir/h$i.dead" "$dir/h$i.log"
  done
  ip link del "lb$id" 2>/dev/null || true
  rm -f "$dir/id" "$dir/count" "$dir/hosts" "$dir/rsh"
}

[ $# -ge 1 ] || usage
verb=$1
case $verb in
  -h | --help) usage 0 ;;
  missing) missing; exit 0 ;;
esac
[ $# -ge 2 ] || usage
mkdir -p "$2"
dir=$(cd -- "$2" && pwd)
shift 2
[ "$verb" = start ] || load
case $verb in
  start) start "$@" ;;
  stop) stop ;;
  run) run "$@" ;;
  mpirun) mpi "$@" ;;
  cut) known "$1"; ip link set "lv$id${1#h}" down ;;
  heal) known "$1"; ip link set "lv$id${1#h}" up ;;
  slow) known "$1"; host=$1; shift
    [ "$1" != netem ] || tc qdisc replace dev "lv$id${host#h}" root netem delay 1ms 2>/dev/null || exit 77
    tc qdisc replace dev "lv$id${host#h}" root "$@"
    ip netns exec "$(namespace "$host")" tc qdisc replace dev eth0 root "$@" ;;
  kill) known "$1"; : >"$dir/$1.dead"; ip link set "lv$id${1#h}" down; end_processes "$1" ;;
  pids) known "$1"; ip netns pids "$(namespace "$1")" ;;
  *) usage ;;
esac
