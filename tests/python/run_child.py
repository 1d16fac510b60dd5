"""A child for `leasehold run`: tells of each signal that it gets (those named as arguments), and does what
it reads from stdin, line by line. It ends with stdin."""

import os
import signal
import sys

counts = {}


def say(text):
    # At once, and whole, whatever a signal interrupts.
    os.write(1, (text + "\n").encode())


def tell(number, _frame):
    name = signal.Signals(number).name.removeprefix("SIG")
    counts[name] = counts.get(name, 0) + 1
    say(f"got {name} {counts[name]}")


for name in sys.argv[1:]:
    signal.signal(signal.Signals["SIG" + name], tell)
say(f"ready {os.getpid()} {os.getppid()}")
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    match word:
        case "say":
            say("said " + rest)
        case "size":
            size = os.get_terminal_size(1)
            say(f"size {size.columns}x{size.lines}")
        case "send":
            name, number = rest.split()
            os.kill(int(number), signal.Signals["SIG" + name])
        case "exit":
            os._exit(int(rest))
        case "die":
            number = signal.Signals["SIG" + rest]
            if rest != "KILL":
                signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
