"""What a training says, on Python's standard output."""

import sys


class Progress:
    """Prints each line; shows the epoch in hand in a line that is rewritten, in a terminal and in a notebook."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.rewrites = self.terminal or type(sys.stdout).__module__.startswith("ipykernel")
        self.shown = 0

    def __call__(self, text: str, bar: bool) -> None:
        if bar and not self.rewrites:
            return
        try:
            self._rewrite(text if bar else "")
            if not bar:
                sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            # Nobody listening is no reason to end a training.
            pass

    def _rewrite(self, text: str) -> None:
        """Puts `text` in the place of the line that is shown."""
        if self.shown or text:
            rest = "" if self.terminal else " " * (self.shown - len(text))
            sys.stdout.write(f"\r{text}{rest}" + ("\x1b[K" if self.terminal else ""))
            if not text:
                sys.stdout.write("\r")
            self.shown = len(text)
