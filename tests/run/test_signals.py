"""SIGTERM and Ctrl-C in processes of their own: statuses, what is held back, the second one, handlers put back."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from rawcnn.run import signals
from tests.command import ROOT, heard

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
BOTH = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def begin(program):
    """A process that runs `program` in `handled()`, exits with `Stopped`'s status, and has printed `ready`."""
    text = (
        "import os, signal, sys, time, zlib\nfrom rawcnn.run import signals\ntry:\n    with signals.handled():\n"
        + textwrap.indent(textwrap.dedent(program), "        ")
        + "\nexcept signals.Stopped as stop:\n    print('end', flush=True)\n    sys.exit(stop.status)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "status"), BOTH)
def test_one_ends_the_process_with_its_status(number, status):
    process = begin("print('ready', flush=True); time.sleep(60)")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == status and out == "end\n" and "once more to stop at once" in err


@pytest.mark.parametrize(("number", "status"), BOTH)
def test_one_is_held_back_where_that_is_asked(number, status):
    process = begin("""
        with signals.deferred():
            print('ready', flush=True)
            for _ in range(20):
                time.sleep(0.05)
            print('whole', flush=True)
    """)
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == status and out == "whole\nend\n"


def test_check_and_at_once_let_it_through():
    process = begin("""
        with signals.deferred():
            print('ready', flush=True)
            time.sleep(0.5)
            try:
                signals.check()
            except signals.Stopped:
                print('checked', flush=True)
            with signals.at_once():
                print('never', flush=True)
    """)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 143 and out == "checked\nend\n"


@pytest.mark.parametrize(("number", "status"), BOTH)
def test_a_second_ends_it_at_once_even_in_code_that_is_not_pythons(number, status):
    """Each sum of a gigabyte takes most of a second, without the interpreter's lock and without a look at signals."""
    process = begin("""
        with signals.deferred():
            block = memoryview(bytes(1 << 30))
            print('ready', flush=True)
            for _ in range(1000):
                zlib.crc32(block)
    """)
    process.send_signal(number)
    assert process.stderr.readline() == "\n" and "once more" in process.stderr.readline()
    began = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == status and "end" not in out and time.monotonic() - began < 1.0


def test_handlers_come_back():
    before = {number: signal.getsignal(number) for number in signals.NAMES}
    with signals.handled():
        assert all(signal.getsignal(n) is not before[n] for n in before if before[n] is not signal.SIG_IGN)
        with signals.handled():  # nothing more
            pass
        with pytest.raises(ZeroDivisionError), signals.deferred():
            raise ZeroDivisionError
    with signals.quitting():
        pass
    assert {number: signal.getsignal(number) for number in signals.NAMES} == before
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    assert descriptor == -1


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with signals.handled():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_may_use_it_to_no_effect():
    seen = []

    def use():
        with signals.handled(), signals.deferred(), signals.at_once(), signals.quitting():
            signals.check()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(("number", "status"), BOTH)
def test_while_importing_there_is_no_traceback(number, status):
    text = "import time\nfrom rawcnn.run import signals\n"
    text += "with signals.quitting():\n    print('ready', flush=True)\n    time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == status and err == ""
