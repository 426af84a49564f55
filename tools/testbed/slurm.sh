#!/usr/bin/env bash
# A real Slurm on one machine, for the tests of slurm/*.sbatch: munge, slurmctld and two slurmd ("nodes" n1 and n2,
# each with 4 cores and 2 fake GPUs). Beside any other Slurm: ports, spool, munge socket and key are its own.
#
# usage: slurm.sh install              the Debian packages (root; everything below needs them)
#        slurm.sh start DIR            starts it; all it writes is below DIR (not there yet, or stopped)
#        slurm.sh run DIR COMMAND...   COMMAND (sbatch, squeue, scontrol, ...) against it
#        slurm.sh kill-node DIR NODE   SIGKILL to that node's slurmd and all that it runs
#        slurm.sh node DIR NODE        starts that node's slurmd again
#        slurm.sh stop DIR             ends it; the logs stay in DIR/log
#        slurm.sh missing              prints what keeps it from running here; nothing: it can
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
packages='slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge'

die() { echo "slurm.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$here/slurm.sh"; exit "${1:-2}"; }

missing() {
  [ "$(id -u)" = 0 ] || { echo "not root"; return; }
  local program
  for program in slurmctld slurmd sbatch munged mpirun; do
    command -v "$program" >/dev/null || { echo "no $program"; return; }
  done
}

# The environment of everything that talks to this Slurm. Both nodes have this machine's name, so that Open MPI's
# shared-memory transport takes their ranks for neighbours that they are not: TCP alone.
environment() {
  export SLURM_CONF=$dir/slurm.conf
  export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
  export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
}

free_ports() {
  local base port
  for ((base = 27800; base < 28800; base += 4)); do
    for port in $base $((base + 1)) $((base + 2)); do
      (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
    done
    echo "$base"
    return
  done
  die "no free ports between 27800 and 28800"
}

write_config() {
  local host base cores node gpu
  host=$(hostname -s)
  base=$(free_ports)
  cores=4
  cat >"$dir/slurm.conf" <<CONF
ClusterName=llmctest
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SchedulerParameters=sched_interval=2,batch_sched_delay=1
KillWait=5
SlurmdTimeout=15
SlurmctldTimeout=30
InactiveLimit=0
GresTypes=gpu
MailProg=/bin/true
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd.%n
TmpFS=$dir/tmp.%n
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + 2))] CPUs=$cores RealMemory=4000 Gres=gpu:2
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  for node in n1 n2; do
    for gpu in /dev/zero /dev/full; do echo "NodeName=$node Name=gpu File=$gpu"; done
  done >"$dir/gres.conf"
}

start_daemon() { # NAME COMMAND...
  local name=$1
  shift
  setsid "$@" >>"$dir/log/$name.out" 2>&1 </dev/null &
  echo $! >"$dir/$name.daemon"
}

start_node() { start_daemon "slurmd.$1" slurmd -D -N "$1"; }

wait_until() { # SECONDS WHAT COMMAND...
  local seconds=$1 what=$2 i
  shift 2
  for ((i = 0; i < seconds * 5; ++i)); do
    "$@" && return 0
    sleep 0.2
  done
  tail -n 20 "$dir"/log/* >&2 || true
  stop
  die "$what has not come up within $seconds s"
}

nodes_idle() { [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l)" = 2 ]; }

start() {
  local why
  why=$(missing)
  [ -z "$why" ] || die "cannot run here: $why (slurm.sh install)"
  [ ! -e "$dir/slurmctld.daemon" ] || die "$dir: is running, or was not stopped"
  mkdir -p "$dir"/{state,log,munge,spool.n1,spool.n2,tmp.n1,tmp.n2}
  chmod 755 "$dir" "$dir/munge"
  write_config
  environment
  (umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
  start_daemon munged munged --foreground --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
    --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
  wait_until 10 munged test -S "$dir/munge/socket"
  start_daemon slurmctld slurmctld -D
  start_node n1
  start_node n2
  wait_until 60 Slurm nodes_idle
}

# By the ids that were kept at the start, and only while they are still what was started.
end_daemon() { # NAME SIGNAL
  local pid
  pid=$(cat "$dir/$1.daemon" 2>/dev/null) || return 0
  if [ "$(readlink "/proc/$pid/exe" 2>/dev/null | xargs -r basename)" = "${1%%.*}" ]; then
    kill "-$2" "$pid" 2>/dev/null || true
    local i
    for ((i = 0; i < 50; ++i)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$dir/$1.daemon"
}

# What runs on a node: all processes whose environment says so.
processes_of() { # NODE
  local file
  for file in /proc/[0-9]*/environ; do
    # shellcheck disable=SC2094
    if tr '\0' '\n' <"$file" 2>/dev/null | grep -qx -e "SLURM_CONF=$dir/slurm.conf"; then
      tr '\0' '\n' <"$file" 2>/dev/null | grep -qx -e "SLURMD_NODENAME=$1" && basename "$(dirname "$file")"
    fi
  done 2>/dev/null
  true
}

stop() {
  environment
  scancel --full --signal=KILL --user=root >/dev/null 2>&1 || true
  scancel --user=root >/dev/null 2>&1 || true
  end_daemon slurmd.n1 TERM
  end_daemon slurmd.n2 TERM
  end_daemon slurmctld TERM
  end_daemon munged TERM
  local node pid
  # slurmctld's helper outlives it.
  for pid in $(pgrep -x slurmscriptd); do
    tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx -e "SLURM_CONF=$dir/slurm.conf" && kill -KILL "$pid" 2>/dev/null
  done || true
  for node in n1 n2; do
    for pid in $(processes_of "$node"); do kill -KILL "$pid" 2>/dev/null || true; done
  done
}

[ $# -ge 1 ] || usage
verb=$1
case $verb in
  -h | --help) usage 0 ;;
  missing) missing; exit 0 ;;
  install)
    [ "$(id -u)" = 0 ] || die "install needs root"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q -y update
    # shellcheck disable=SC2086
    exec apt-get -q -y -o APT::Install-Recommends=false install $packages
    ;;
esac
[ $# -ge 2 ] || usage
mkdir -p "$2"
dir=$(cd -- "$2" && pwd)
case $verb in
  start) start ;;
  stop) stop ;;
  run)
    [ -e "$dir/slurm.conf" ] || die "$dir: nothing was started there"
    shift 2
    environment
    exec "$@"
    ;;
  kill-node)
    environment
    end_daemon "slurmd.${3:?NODE}" KILL
    for pid in $(processes_of "$3"); do kill -KILL "$pid" 2>/dev/null || true; done
    ;;
  node) environment; start_node "${3:?NODE}" ;;
  *) usage ;;
esac
