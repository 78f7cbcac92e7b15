"""Measures `wgrec serve`: latency at 1, 8 and 64 clients next to exact top-k in numpy, malformed requests, takeovers under load, a kill.

    python3 experiments/serve/measure.py WGREC RUN OTHER_RUN [--seconds 60]

RUN and OTHER_RUN are trained folders on the same data. Needs wrk (apt install wrk) and numpy. Prints a table; exits with 1 where a
request was lost, a malformed one got a status of 500 or more, or memory grew.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent


class Server:
    def __init__(self, program, run, *more):
        command = [program, "serve", "--run", run, "--device", "cpu", "--listen", "127.0.0.1:0", "--poll", "0.2", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("at "):
                self.url = line.split()[1].rstrip("/")
                return
        sys.exit("the server did not start")

    def post(self, body):
        request = urllib.request.Request(self.url + "/recommend", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return answer.read().decode()

    def memory(self):
        """Bytes in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def end(self):
        self.process.terminate()
        return self.process.wait(30)


def load(url, users, clients, seconds):
    """Answers a second, p50 and p99 in ms, and how many were not 200, by wrk."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(HERE / "request.lua"), url]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "USERS": users}).stdout
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    at = lambda share: re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", out)
    p50, p99 = [float(at(share)[1]) * scale[at(share)[2]] for share in (50, 99)]
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    bad += sum(int(n) for line in re.findall(r"Socket errors: (.*)", out) for n in re.findall(r"\d+", line))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), p50, p99, bad


def numpy_latency(program, run, seconds):
    """p50 and p99 in ms of the ten best of all items by numpy, the user's vector given and the history not left out."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        vectors = {}
        for what in ("users", "items"):
            path = f"{folder}/{what}.npy"
            subprocess.run([program, "export", what, "--run", run, "--device", "cpu", "--output", path], check=True, capture_output=True)
            vectors[what] = np.load(path)
    users, items = vectors["users"], vectors["items"]
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        scores = items @ users[random.randrange(len(users))]
        best = np.argpartition(scores, -10)[-10:]
        best[np.argsort(-scores[best])]
        times.append(time.perf_counter() - start)
    times.sort()
    return [1e3 * times[int(share * len(times))] for share in (0.5, 0.99)]


def malformed(server, count, users):
    """Statuses of `count` requests that are cut, changed or joined, and the growth of memory in bytes over the last nine tenths."""
    draw, statuses, before = random.Random(1), {}, 0
    for number in range(count):
        if number == count // 10:
            before = server.memory()
        body = bytearray(json.dumps({"user": draw.choice(users), "history": ["1", 2], "k": 5, "exclude": ["3"]}).encode())
        for _ in range(draw.randint(1, 5)):
            at = draw.randrange(len(body))
            what = draw.randrange(4)
            if what == 0:
                del body[at:]
                body += b" "
            elif what == 1:
                body[at] = draw.randrange(256)
            elif what == 2:
                body += body[at:]
            else:
                body[at:at] = draw.choice([b"[" * 500, b'"\\ud800"', b"1e999", b"-1", b"null", b"\xff\xfe", b'{"k": 99999999999999999999}'])
        status, _ = server.post(bytes(body))
        statuses[status] = statuses.get(status, 0) + 1
    return statuses, server.memory() - before


def takeovers(program, runs, users, count):
    """Takes over `count` runs under load: the number of requests that were not answered, and of all."""
    with tempfile.TemporaryDirectory() as folder:
        now, following = Path(folder) / "now", Path(folder) / "next"
        now.symlink_to(Path(runs[0]).resolve())
        server = Server(program, str(now))
        stop, asked, lost = threading.Event(), [0], []

        def ask():
            while not stop.is_set():
                status, answer = server.post(json.dumps({"user": random.choice(users)}).encode())
                asked[0] += 1
                if status != 200:
                    lost.append((status, answer))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for number in range(count):
            run = Path(runs[(number + 1) % 2]).resolve()
            following.symlink_to(run)
            following.rename(now)
            while not json.loads(server.get("/health"))["run"].split(", epoch")[0].endswith(str(run)):
                time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        assert server.end() == 0
        return len(lost), asked[0]


def main():
    parser = argparse.ArgumentParser()
    for name in ("program", "run", "other"):
        parser.add_argument(name)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--malformed", type=int, default=10_000)
    parser.add_argument("--takeovers", type=int, default=20)
    args = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        users = f"{folder}/users"
        names = [line.split("\t")[1] for line in Path(args.run, "users.tsv").read_text().splitlines()]
        Path(users).write_text("\n".join(names))
        p50, p99 = numpy_latency(args.program, args.run, min(args.seconds, 10))
        print(f"numpy, one at a time, vectors given: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        server = Server(args.program, args.run)
        print("clients  answers/s  p50 ms  p99 ms  not 200")
        for clients in (1, 8, 64):
            rate, p50, p99, bad = load(server.url, users, clients, args.seconds)
            print(f"{clients:7}  {rate:9.0f}  {p50:6.2f}  {p99:6.2f}  {bad:7}")
            wrong += [f"{bad} requests were not answered"] if bad else []
        statuses, growth = malformed(server, args.malformed, names)
        print(f"{args.malformed} malformed: statuses {dict(sorted(statuses.items()))}, memory {growth / 2**20:+.1f} MiB")
        wrong += ["a status of 500 or more"] if max(statuses) >= 500 else []
        wrong += ["memory grew by over 8 MiB"] if growth > 8 << 20 else []
        server.process.kill()
        server.process.wait()
        again = Server(args.program, args.run)
        assert again.post(json.dumps({"user": names[0]}).encode())[0] == 200
        print("killed and started again: answers")
        again.end()
        lost, asked = takeovers(args.program, [args.run, args.other], names, args.takeovers)
        print(f"{args.takeovers} takeovers under load: {lost} of {asked} requests lost")
        wrong += ["requests were lost"] if lost else []
    sys.exit("; ".join(wrong) if wrong else 0)


main()
