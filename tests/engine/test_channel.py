"""Messages: whole or not at all."""

import os
import socket
import struct
import threading
from mmap import mmap

import pytest

from imagekit.engine.channel import NOBODY, PAGE, WAITING, mark, marked, receive, send


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 8000])
def test_a_message_arrives_whole_however_large(payload):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=send, args=(theirs.fileno(), payload))
        sender.start()

        received = receive(ours.fileno())

        sender.join()
    assert received == payload


def test_messages_do_not_run_into_each_other():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(theirs.fileno(), b"one")
        send(theirs.fileno(), b"two")

        assert [receive(ours.fileno()), receive(ours.fileno())] == [b"one", b"two"]


@pytest.mark.parametrize("begun", [b"", b"\3", struct.pack("<Q", 3), struct.pack("<Q", 3) + b"on"])
def test_the_end_of_the_other_side_is_an_end_of_file_even_in_the_middle_of_a_message(begun):
    ours, theirs = socket.socketpair()
    with ours:
        os.write(theirs.fileno(), begun)
        theirs.close()

        with pytest.raises(EOFError):
            receive(ours.fileno())


def test_the_other_side_that_dies_with_messages_unread_is_an_end_of_file():
    ours, theirs = socket.socketpair()
    with ours:
        send(ours.fileno(), b"never read")
        theirs.close()

        with pytest.raises(EOFError):
            receive(ours.fileno())


def test_sending_to_nobody_raises():
    ours, theirs = socket.socketpair()
    theirs.close()

    with ours, pytest.raises(BrokenPipeError):
        send(ours.fileno(), b"x")


def test_the_page_gives_back_what_was_marked():
    with mmap(-1, PAGE.size) as page:
        mark(page, NOBODY, WAITING)
        first = marked(page)
        mark(page, 1_281_166, 2**62)

        assert (first, marked(page)) == ((-1, 0), (1_281_166, 2**62))
