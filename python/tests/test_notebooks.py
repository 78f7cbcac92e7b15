"""The notebooks run from top to bottom."""

import pathlib

import jupyter_client
import nbclient
import nbformat
import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.ipynb")))
def test_notebook(name: str, tmp_path: pathlib.Path) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(cell.get("outputs") for cell in notebook.cells)


def test_the_stop_button(tmp_path: pathlib.Path, csv: pathlib.Path) -> None:
    """The kernel is interrupted once the epoch in hand is shown."""
    manager, client = jupyter_client.manager.start_new_kernel(cwd=str(tmp_path))
    try:
        client.execute(f"import wgrec; wgrec.train('sasrec', {str(csv)!r}, device='cpu', train__epochs=10_000)")
        said, error, pressed = "", None, False
        while error is None:
            message = client.get_iopub_msg(timeout=60)
            if message["msg_type"] == "stream":
                said += message["content"]["text"]
                if "\repoch 2 " in said and not pressed:
                    manager.interrupt_kernel()
                    pressed = True
            elif message["msg_type"] == "error":
                error = message["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert error["ename"] == "KeyboardInterrupt" and "stopped after step" in error["evalue"], error
    assert (tmp_path / "runs/sasrec-1/checkpoint/last.safetensors").is_file()
