"""One big experiment, and data that are read while it trains, against hand-written JAX and plain reads of blocks.

    python -m benchmarks.big [--parts=transformer,resnet,streams] [--devices=1,8] [--rounds=7] [--gigabytes=1]

A small causal transformer and a small ResNet with BatchNorm, on as many host devices as are asked for, in a process of
its own each: as `auto` plans them, and on several devices also by --mesh=experiment:1,data:N, beside jitted programs
with the same sharding and a donated state (`benchmarks.big_steps`). Then records of 788 bytes in files, that many
gigabytes, in a temporary folder: reading alone, training beside the same from memory, and the memory that it takes
(`benchmarks.big_streams`).

Rounds interleave the programs; printed are medians, and the medians of each round's ratio to the first one, above 1
where that is faster: `clock` by time that passed, `processor` by the time of all cores, which a busy machine moves
less. `bytes` is what a call of the largest program needs on a device; compiling counts nowhere.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent


def child(module, *words, devices=1):
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "MLGYM_JAX_CACHE_DIR": "off"}
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def ratio(programs, first, name, key):
    pairs = zip(programs[first][key], programs[name][key], strict=True)
    return statistics.median(other / own for own, other in pairs)


def show(title, programs, count, unit, *, first=None):
    """Print a line a program: how many it does a second, and how much longer it takes than the first."""
    first = first or next(iter(programs))
    print(f"\n{title}")
    print(f"{'':>28} {unit + 's/s':>11} {'clock':>7} {'processor':>10} {'bytes':>9} {'compile':>8} {'loss':>7}  plan")
    for name, found in programs.items():
        rate = count / statistics.median(found["seconds"])
        print(f"{name:>28} {rate:11,.0f} {ratio(programs, first, name, 'seconds'):6.2f}x ", end="")
        print(f"{ratio(programs, first, name, 'processor'):9.2f}x", end="")
        if "bytes" in found:
            print(f" {found['bytes'] / 2**20:5.1f} MiB {found['compile']:6.1f} s {found['loss']:7.4f}", end="")
            print(f"  {found['plan']}", end="")
        print(flush=True)


def steps(name, devices, rounds):
    from benchmarks.big_steps import BIG

    workload, mesh = BIG[name], f"experiment:1,data:{devices}"
    words = [f"--workload={name}", f"--rounds={rounds}", *([f"--mesh={mesh}"] if devices > 1 else [])]
    programs = child("big_steps", *words, devices=devices)
    count = workload.batch_size * workload.num_steps * workload.units
    first = f"--mesh={mesh}" if devices > 1 else "auto"
    title = f"{name}, {devices} device{'s' * (devices > 1)}, {rounds} rounds"
    show(title, programs, count, workload.unit, first=first)


def streams(gigabytes, rounds):
    from benchmarks.big_streams import write_records

    with tempfile.TemporaryDirectory() as folder:
        write_records(folder, int(gigabytes * 1e9) // 788)
        found = child("big_streams", "reading", f"--folder={folder}", f"--rounds={rounds}")
        title = f"reading {found['records']:,} of {found['of']:,} records at random, {rounds} rounds"
        show(title, found["programs"], found["records"], "record")
        print(f"to the first part: {found['prepare']:.2f} s of checks, {found['first part']:.2f} s of reading")
        fed = child("big_streams", "fed", f"--folder={folder}", f"--rounds={rounds}")
        show(f"a wide MLP, {rounds} rounds", fed["programs"], fed["records"], "record")
        whole = child("big_streams", "whole", f"--folder={folder}")
        more = (whole["peak"] - whole["before"]) / 2**20
        print(
            f"\na small MLP reads {whole['bytes'] / 1e9:.1f} GB once: {whole['records'] / whole['seconds']:,.0f} ",
            end="",
        )
        print(f"records/s, {more:,.0f} MiB more than the {whole['before'] / 2**20:,.0f} MiB before the first step")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="transformer,resnet,streams")
    parser.add_argument("--devices", default="1,8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    options = parser.parse_args()
    for part in options.parts.split(","):
        if part == "streams":
            streams(options.gigabytes, options.rounds)
            continue
        for devices in options.devices.split(","):
            steps(part, int(devices), options.rounds)


if __name__ == "__main__":
    main()
