"""Asks the far end of `demos ipc --answer WAY` a thousand times, and checks each answer. Knows nothing of the program
but what its help says. Usage: partner.py DEMOS WAY"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing import shared_memory

DEMOS, WAY = sys.argv[1:]
ROUNDS, LAST = 1000, 2**64 - 1


def message(number, filling=b"x" * 56):
    return number.to_bytes(8, "little") + filling


def start(at="", **streams):
    process = subprocess.Popen([DEMOS, "ipc", "--answer", WAY, "--at", at], stderr=subprocess.PIPE, **streams)
    line = process.stderr.readline()
    assert line == b"ready\n", line
    return process


def converse(process, send, receive):
    for number in range(0, ROUNDS):
        send(message(number))
        answer = receive()
        assert answer == message(number + 1), (number, answer)
    send(message(LAST))
    assert process.wait(10) == 0


def exactly(read):
    parts = b""
    while len(parts) < 64:
        part = read(64 - len(parts))
        assert part, "the far end is gone"
        parts += part
    return parts


def pipe():
    process = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    converse(process, process.stdin.write, lambda: exactly(process.stdout.read))


def named_pipe():
    with tempfile.TemporaryDirectory() as folder:
        there, back = folder + "/there", folder + "/back"
        os.mkfifo(there), os.mkfifo(back)
        process = start(f"{there},{back}")
        # An end that is closed on this side is no end to the other, which has it open for writing itself.
        to, of = os.open(there, os.O_WRONLY), os.open(back, os.O_RDONLY)
        converse(process, lambda bytes: os.write(to, bytes), lambda: exactly(lambda most: os.read(of, most)))


def unix_socket():
    here, there = socket.socketpair()
    process = start(stdin=there)
    converse(process, here.sendall, lambda: exactly(here.recv))


def unix_datagram():
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    process = start(stdin=there)
    # More room than for a message: one that is longer would show.
    converse(process, here.send, lambda: here.recv(1000))


def shared():
    memory = shared_memory.SharedMemory(create=True, size=128)
    there, back = os.eventfd(0), os.eventfd(0)
    try:
        process = start("/" + memory.name.lstrip("/"), stdin=there, stdout=back)

        def send(bytes):
            memory.buf[:64] = bytes
            os.eventfd_write(there, 1)

        def receive():
            os.eventfd_read(back)
            return bytes(memory.buf[64:128])

        converse(process, send, receive)
    finally:
        memory.close()
        memory.unlink()


def message_queue():
    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_long) for name in ("flags", "maxmsg", "msgsize", "curmsgs")]
        _fields_.append(("reserved", ctypes.c_long * 4))

    libc = ctypes.CDLL(None, use_errno=True)
    names = [f"/demos-partner-{os.getpid()}-{way}" for way in ("there", "back")]
    attributes = Attributes(0, 4, 64, 0)
    queues = [
        libc.mq_open(name.encode(), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, ctypes.byref(attributes)) for name in names
    ]
    assert all(queue >= 0 for queue in queues), ctypes.get_errno()
    try:
        process = start(",".join(names))

        def receive():
            buffer = ctypes.create_string_buffer(64)
            assert libc.mq_receive(queues[1], buffer, ctypes.c_size_t(64), None) == 64, ctypes.get_errno()
            return buffer.raw

        def send(bytes):
            assert libc.mq_send(queues[0], bytes, ctypes.c_size_t(64), 0) == 0, ctypes.get_errno()

        converse(process, send, receive)
    finally:
        for name in names:
            libc.mq_unlink(name.encode())


def signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    process = start(str(os.getpid()))
    for _ in range(ROUNDS):
        process.send_signal(signal.SIGUSR1)
        assert signal.sigtimedwait([signal.SIGUSR2], 10), "no answer"
    process.send_signal(signal.SIGURG)
    assert process.wait(10) == 0


WAYS = {
    "pipe": pipe,
    "named-pipe": named_pipe,
    "unix-socket": unix_socket,
    "unix-datagram": unix_datagram,
    "shared-memory": shared,
    "message-queue": message_queue,
    "signal": signals,
}
WAYS[WAY]()
print("answered", ROUNDS)
