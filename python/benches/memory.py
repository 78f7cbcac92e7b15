"""Memory that a training takes beyond its data frame: pop on 10 million rows of an Arrow table, then on the same as a file.

python benches/memory.py [ROWS]
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import wgrec


def resident() -> float:
    """MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(rows: int, texts: bool) -> pa.Table:
    random = np.random.default_rng(1)
    users, items = random.integers(0, 100_000, rows), random.zipf(1.2, rows) % 20_000
    columns = {"user_id": pa.array(users), "item_id": pa.array(items)}
    if texts:
        columns = {name: column.cast(pa.string()) for name, column in columns.items()}
    return pa.table({**columns, "timestamp": pa.array(np.sort(random.integers(1_600_000_000, 1_700_000_000, rows)))})


def measure(rows: int, kind: str, folder: str) -> None:
    data: Any = table(rows, kind == "texts")
    size = f"a table of {data.nbytes / 2**20:.0f} MiB"
    if kind == "file":
        pq.write_table(data, f"{folder}/ratings.parquet")
        data = f"{folder}/ratings.parquet"
        pa.default_memory_pool().release_unused()
        size = "a Parquet file"
    before = most = resident()

    def watch() -> None:
        nonlocal most
        while True:
            most = max(most, resident())
            time.sleep(0.005)

    threading.Thread(target=watch, daemon=True).start()
    begun = time.monotonic()
    wgrec.train("pop", data, out=f"{folder}/run", device="cpu", progress=False)
    print(f"{kind:<8} {size}: {most - before:.0f} MiB more, {time.monotonic() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    if len(sys.argv) > 2:
        with tempfile.TemporaryDirectory() as folder:
            measure(rows, sys.argv[2], folder)
    else:
        for kind in ["integers", "texts", "file"]:
            subprocess.run([sys.executable, __file__, str(rows), kind], check=True)
