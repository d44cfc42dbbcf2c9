"""The command line of `bench/compare`, and its rounds."""

import argparse
import datetime
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from . import plot, report
from .figures import Figures
from .measures import measures
from .processes import RunFailed, await_port, end_children, free_port, output, running
from .site import AUDIENCE, BENCH, ISSUER, ORIGIN, PATH, SERVER_NAME, Site
from .targets import TARGETS, find, version

ROOT = BENCH.parent
DESCRIPTORS = 20000
LOAD_SECONDS = 180
GROUP = "X25519"
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main():
    """Returns 0 if every run gave a figure, 1 if one failed, 2 if nothing could be run, 130 if it was interrupted."""
    asked = arguments()
    for one in INTERRUPTS:
        signal.signal(one, interrupt)
    try:
        raise_descriptor_limit()
        built = {
            "wsgate": asked.wsgate or build([], "wsgate"),
            "wsgate-bench": asked.bench or build(["-p", "wsgate-bench"], "wsgate-bench"),
        }
        chosen, absent = choose(asked.only, built)
        kinds = [one for one in measures(asked.quick) if not asked.measure or (one.group or one.name) in asked.measure]
        facts = describe(asked, chosen, built)
        with tempfile.TemporaryDirectory(prefix="wsgate-compare-") as folder:
            runs, whole = compare(Site(folder, built["wsgate"]), asked.rounds, kinds, chosen, built)
    except RunFailed as failure:
        print(f"compare: {failure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        end_children()
    facts["whole"] = whole
    publish(asked.out, facts, kinds, chosen, absent, runs)
    if not whole:
        return 130
    return 1 if any("error" in run for run in runs) else 0


def arguments():
    """What was asked for."""
    names = [target.name for target in TARGETS]
    groups = list(dict.fromkeys(one.group or one.name for one in measures(quick=False)))
    parser = argparse.ArgumentParser(prog="bench/compare", description="Measures wsgate beside its peers on loopback.")
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test, not a result")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds over all targets (3; with --quick 1)")
    parser.add_argument("--only", type=word_list(names), metavar="TARGET,...", help=", ".join(names))
    parser.add_argument("--measure", type=word_list(groups), metavar="MEASURE,...", help=", ".join(groups))
    results = ROOT / "target" / "compare"
    parser.add_argument("--out", type=Path, default=results, metavar="DIR", help="where results go (target/compare)")
    parser.add_argument("--wsgate", type=program, metavar="PATH", help="measure this binary, build none")
    parser.add_argument("--bench", type=program, metavar="PATH", help="use this load tool, build none")
    asked = parser.parse_args()
    asked.rounds = (1 if asked.quick else 3) if asked.rounds is None else asked.rounds
    if asked.rounds < 1:
        parser.error("--rounds takes 1 or more")
    return asked


def word_list(known):
    """Reads `a,b`, each of which must be known."""

    def read(text):
        words = text.split(",")
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(f"`{word}` is not one of {', '.join(known)}")
        return words

    return read


def program(text):
    """Reads the path of a program."""
    path = Path(text).resolve()
    if not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"`{text}` is no program")
    return path


def interrupt(_signal, _frame):
    """Ends the measuring once; what ends the processes is not interrupted again."""
    for one in INTERRUPTS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def raise_descriptor_limit():
    """Two sockets a connection: 8000 connections need 16000 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if wanted < DESCRIPTORS:
        print(f"compare: only {wanted} of {DESCRIPTORS} file descriptors are allowed: large runs fail", file=sys.stderr)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def build(package, name):
    """Builds a release binary and returns its path."""
    argv = ["cargo", "build", "--release", "--locked", *package]
    print(f"compare: {' '.join(argv)}", file=sys.stderr)
    if subprocess.run(argv, cwd=ROOT).returncode != 0:
        raise RunFailed(f"{name} could not be built")
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / name


def choose(only, built):
    """The targets that are here, and `{name: reason}` of those that are not."""
    wanted = [target for target in TARGETS if not only or target.name in only]
    absent = {target.name: f"no `{target.program}` on PATH" for target in wanted if not find(target, built)}
    return [target for target in wanted if target.name not in absent], absent


def compare(site, rounds, kinds, chosen, built):
    """Measures every target alone, round by round. Returns the runs, and whether they are all."""
    runs = []
    try:
        for number in range(rounds):
            for measure in kinds:
                suited = [target for target in chosen if measure.suits(target)]
                shift = number % len(suited) if suited else 0  # nobody is always first, or always behind the same one
                for target in suited[shift:] + suited[:shift]:
                    run = {"round": number + 1, "measure": measure.name, "target": target.name}
                    try:
                        run["result"] = measure_once(site, measure, target, built)
                        said = f"{run['result'][measure.value]:.1f} {measure.value}"
                    except RunFailed as failure:
                        run["error"] = said = str(failure)
                    runs.append(run)
                    print(f"round {number + 1}/{rounds}  {measure.name:<11} {target.name:<8} {said}", file=sys.stderr)
    except KeyboardInterrupt:
        print("compare: interrupted; what was measured is reported", file=sys.stderr)
        return runs, False
    return runs, True


def measure_once(site, measure, target, built):
    """One figure, from a backend and a target that nobody used before."""
    backend, port = free_port(), free_port()
    bench = built["wsgate-bench"]
    with running([bench, "echo", "--listen", f"127.0.0.1:{backend}"], site.log("echo")) as echo:
        await_port(echo, backend, site.log("echo"))
        argv = target.command(find(target, built), site, port, backend, measure.pending)
        env = {**dict(target.env), "HOME": str(site.folder)}  # Caddy looks for a home
        with running(argv, site.log(target.name), env) as proxy:
            await_port(proxy, port, site.log(target.name))
            load = [bench, "load", measure.load, *load_arguments(site, measure, target, port, proxy.pid)]
            result = parse(output(load, LOAD_SECONDS), measure)
    judge(result, measure, target)
    return result


def load_arguments(site, measure, target, port, pid):
    """How the client speaks to this target."""
    arguments = [*measure.arguments]
    if target.name == "drop":  # it has no cap to fill
        arguments[arguments.index("--held") + 1] = 0
    arguments += ["--url", f"{'wss' if target.tls else 'ws'}://127.0.0.1:{port}{PATH}", "--pid", pid]
    arguments += ["--server-name", SERVER_NAME, "--origin", ORIGIN]  # `refused` sends a foreign one of its own
    if target.tls:
        arguments += ["--ca", site.certs / "ca.pem"]
    if target.credential:
        arguments += ["--token-key", site.token_key, "--issuer", ISSUER, "--audience", AUDIENCE]
    return arguments


def parse(text, measure):
    """The load tool's last line."""
    try:
        result = json.loads(text.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise RunFailed("the load tool's last line is no JSON") from None
    if not isinstance(result.get(measure.value), (int, float)):
        raise RunFailed(f"the load tool reported no {measure.value}")
    return result


def judge(result, measure, target):
    """A figure counts only if the work was the one that all do."""
    if target.tls and result.get("kx_group", GROUP) != GROUP:
        raise RunFailed(f"the key exchange was {result['kx_group']}, and was to be {GROUP}")
    if measure.load == "refused" and set(result.get("statuses", {})) != {"403"}:
        raise RunFailed(f"answered {result.get('statuses')}, and was to answer 403")


def describe(asked, chosen, built):
    """The machine and the programs."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in cpuinfo,
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
        "rounds": asked.rounds,
        "quick": asked.quick,
        "revision": revision.stdout.strip() or "unknown",
        "versions": {target.name: version(target, find(target, built)) for target in chosen},
    }


def publish(folder, facts, kinds, chosen, absent, runs):
    """Writes the three files, and prints the tables."""
    figures = Figures(runs, chosen)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({**facts, "absent": absent, "runs": runs}, indent=1) + "\n")
    text = report.markdown(facts, kinds, chosen, absent, figures)
    (folder / "results.md").write_text(text)
    (folder / "results.svg").write_text(plot.svg(facts, kinds, chosen, figures))
    print(text)
    print(f"written: {folder}/results.json, results.md, results.svg", file=sys.stderr)
