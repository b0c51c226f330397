"""Stress mode: other threads or greenlets may run between any two operations of ours.

`STRESS=SEED` in the environment of the contract application starts it; tests/stress/ has the rest.

Threads: any bytecode of engineio and its drivers may be followed by a pause, mostly as short as
giving the processor away, sometimes long enough for others to get far. CPython with its GIL
switches at calls and jumps only, and rarely; this finds in minutes what would take it months. One
seed makes the same choices each time, but the operating system makes others.

Greenlets: they switch where they wait, so at those places others may run for longer.
"""

import atexit
import functools
import random
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import engineio.async_drivers

import engineio.server
import engineio.socket
from engineio.driver import load

# Of the bytecodes, how many are followed by a pause; of the pauses, how many are long.
SHARE = 0.01
LONG = 0.1
LONGEST = 0.003  # seconds; a handler that seems to wait for a whole tick (0.01) is overtaken

# Of the places where a greenlet may wait, at how many it does, and for how many rounds of the hub.
GREEN_SHARE = 0.3
MOST_ROUNDS = 5

OURS = tuple(f"{path}/" for path in (*engineio.__path__, *engineio.async_drivers.__path__))


def start(seed: int | str, async_mode: str) -> None:
    """Begin, for this thread and those that are started from now on."""
    print(f"stress mode, seed {seed}", flush=True)
    chance = random.Random(seed)
    if async_mode in ("gevent", "eventlet"):
        delay_greenlets(chance, async_mode)
        return
    sys.setswitchinterval(1e-6)
    if sys.version_info >= (3, 12):
        monitor(chance.random)
    else:
        trace(chance.random)


def pause(chance: Callable[[], float]) -> None:
    if chance() < SHARE:
        time.sleep(chance() * LONGEST if chance() < LONG else 0)


def monitor(chance: Callable[[], float]) -> None:
    monitoring: Any = vars(sys)["monitoring"]
    never_again = monitoring.DISABLE
    ours = OURS  # modules lose their names before the interpreter has ended

    def instruction(code: CodeType, offset: int) -> object:
        if not code.co_filename.startswith(ours):
            return never_again
        pause(chance)
        return None

    tool = monitoring.PROFILER_ID
    monitoring.use_tool_id(tool, "stress")
    monitoring.register_callback(tool, monitoring.events.INSTRUCTION, instruction)
    monitoring.set_events(tool, monitoring.events.INSTRUCTION)
    atexit.register(monitoring.set_events, tool, 0)


def trace(chance: Callable[[], float]) -> None:
    def in_frame(frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            pause(chance)
        return in_frame

    def on_call(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return in_frame

    threading.settrace(on_call)
    sys.settrace(on_call)


def delay_greenlets(chance: random.Random, async_mode: str) -> None:
    driver = load(async_mode)

    def wait() -> None:
        if chance.random() < GREEN_SHARE:
            for _ in range(chance.randint(1, MOST_ROUNDS)):
                driver.sleep(0)

    def patch(owner: Any, name: str, before: bool, after: bool) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def slowly(*args: Any, **kwargs: Any) -> Any:
            if before:
                wait()
            result = function(*args, **kwargs)
            if after:
                wait()
            return result

        setattr(owner, name, slowly)

    # Handlers may wait as they like, and so may the body of a POST.
    patch(engineio.server.Server, "_trigger_event", before=True, after=True)
    patch(engineio.server.Server, "handle_message", before=True, after=True)
    patch(engineio.socket, "_read_exactly", before=True, after=True)
    # What arrives may arrive later, and who is woken may have to wait for its turn.
    green: Any = sys.modules["engineio.async_drivers._green"]
    patch(green.GreenStream, "read", before=True, after=False)
    patch(green.GreenWaiter, "wait", before=False, after=True)
