#!/usr/bin/env python3
"""How a job grows with its workers on one machine: seconds, speed-up, and the processor time of rank 0.

    scaling.py PROGRAM TEXT... [--workers 1,2] [--rounds 3] [--json FILE] [-- OPTION...]

Each worker computes with one thread. TEXT is compressed by `mpirun -n 1+WORKERS PROGRAM compress`, in rounds that take
the numbers of workers in turn; the table has the median of each. Rank 0's share is its processor time, start-up
included, over the time of the whole run. Leave the machine alone meanwhile, or the figures mean nothing.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
       "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1",
       "OMPI_MCA_hwloc_base_binding_policy": "none"}


def be_a_rank(folder, command):
    """One rank: runs the program and leaves the processor seconds that it took."""
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    with open(os.path.join(folder, os.environ["OMPI_COMM_WORLD_RANK"]), "w") as f:
        f.write(str(usage.ru_utime + usage.ru_stime))
    return os.waitstatus_to_exitcode(status)


def run(program, texts, workers, options):
    with tempfile.TemporaryDirectory() as folder:
        command = ["mpirun", "-n", str(1 + workers), sys.executable, os.path.abspath(__file__), "--rank", folder, program,
                   "compress", *texts, "-o", os.path.join(folder, "out.h5"), "-q", "--threads", "1", "--verify", "none", *options]
        begin = time.monotonic()
        done = subprocess.run(command, env=dict(os.environ, **MPI), capture_output=True, text=True)
        seconds = time.monotonic() - begin
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
        with open(os.path.join(folder, "0")) as f:
            return seconds, float(f.read())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[:own.index("--")], own[own.index("--") + 1:]
    args = parser.parse_args(own)
    counts = [int(n) for n in args.workers.split(",")]
    size = sum(os.path.getsize(t) for t in args.texts)
    measured = {n: [] for n in counts}
    for _ in range(args.rounds):
        for n in counts:
            measured[n].append(run(args.program, args.texts, n, options))
    rows = []
    for n in counts:
        seconds = statistics.median(s for s, _ in measured[n])
        rows.append({"workers": n, "seconds": seconds, "bytes_per_second": size / seconds,
                     "rank0_share": statistics.median(cpu / s for s, cpu in measured[n])})
    print(f"{size:,} bytes, {args.rounds} rounds, {os.cpu_count()} cores, {platform.platform()}\n")
    print("| workers | seconds | KB/s | against the first row | rank 0, of a core |\n|---:|---:|---:|---:|---:|")
    for row in rows:
        print(f"| {row['workers']} | {row['seconds']:.1f} | {row['bytes_per_second'] / 1000:.0f} "
              f"| {rows[0]['seconds'] / row['seconds']:.2f} | {100 * row['rank0_share']:.1f} % |")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"bytes": size, "rows": rows, "runs": measured}, f, indent=1)


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "--rank":
        sys.exit(be_a_rank(sys.argv[2], sys.argv[3:]))
    main()
