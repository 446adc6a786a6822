"""The checkers find what is planted, and nothing in a sound history."""

import pytest

import checkers
from checkers import MS
from clients import Outcome
from ledger import Visit, Write


def visit(name, token, enter_ms, exit_ms, method="POST", key="x/k"):
    return Visit(key, name, method, token, enter_ms * MS, None if exit_ms is None else exit_ms * MS)


def outcome(name, sent_ms, wait_ms=None, status=200, done_ms=None, wait_limit_ms=1000):
    one = Outcome(name, sent_ns=sent_ms * MS, wait_limit_ms=wait_limit_ms)
    one.status, one.wait_ms = status, wait_ms
    one.done_ns = (sent_ms + 1 if done_ms is None else done_ms) * MS
    return one


SOUND = [visit("a", 10, 0, 5), visit("b", 11, 5, 9), visit("c", 20, 10, 12),
         visit("other", 9, 1, 11, key="x/another")]
READERS = [visit("w1", 1, 0, 4), visit("r1", 3, 5, 9, "GET"), visit("r2", 2, 6, 12, "GET"), visit("w2", 4, 12, 13)]


def test_a_sound_history_passes():
    assert checkers.no_overlaps(SOUND) == []
    assert checkers.at_most(SOUND, 1) == []
    assert checkers.tokens_rise(SOUND) == []
    assert checkers.tokens_given(SOUND) == []
    assert checkers.no_writer_with_others(READERS) == []
    assert checkers.tokens_rise_around_writers(READERS) == []


@pytest.mark.parametrize("planted", [
    visit("late", 12, 8, 9),            # within b
    visit("around", 12, -1, 30),        # around all
    visit("endless", 12, 4, None),      # never ends
    visit("tail", 21, 11, 13),          # over the end of c
])
def test_overlaps_are_found(planted):
    assert checkers.no_overlaps(SOUND + [planted]) != []


def test_an_overlap_with_one_who_is_not_the_last_is_found():
    long, short = visit("long", 1, 0, 100), visit("short", 2, 200, 201)
    hidden = visit("within", 3, 50, 60)
    assert len(checkers.no_overlaps([long, short, hidden])) == 1
    assert checkers.no_overlaps([long, visit("within", 2, 10, 20), visit("after", 3, 50, 60)])[-1].startswith(
        "x/k: after entered while long")


@pytest.mark.parametrize("planted", [visit("w", 5, 7, 8), visit("r", 5, 3, 6, "GET"), visit("w", 5, 13, 14),
                                     visit("w", 5, 12, 14)])
def test_a_writer_with_others_is_found(planted):
    found = checkers.no_writer_with_others(READERS + [planted])
    assert bool(found) == (planted.enter_ns < 13 * MS)


def test_one_too_many_is_found():
    three = [visit(f"p{i}", i, i, 10 + i) for i in range(3)]
    assert checkers.at_most(three, 3) == []
    assert checkers.at_most(three + [visit("p3", 3, 10, 11)], 3) == []
    assert checkers.at_most(three + [visit("p3", 3, 9, 11)], 3) == ["x/k: p3 entered as number 4 of 3"]
    assert len(checkers.at_most(three, 2)) == 1


@pytest.mark.parametrize("planted", [visit("same", 20, 13, 14), visit("older", 12, 13, 14),
                                     visit("none", None, 13, 14)])
def test_tokens_that_do_not_rise_are_found(planted):
    assert len(checkers.tokens_rise(SOUND + [planted])) == 1


def test_tokens_missing_and_given_twice_are_found():
    assert len(checkers.tokens_given(SOUND + [visit("none", None, 13, 14)])) == 1
    assert len(checkers.tokens_given(SOUND + [visit("twice", 10, 13, 14)])) == 1


@pytest.mark.parametrize("planted", [
    visit("r3", 1, 14, 15, "GET"), visit("r3", 4, 14, 15, "GET"), visit("w3", 3, 14, 15), visit("w3", 4, 14, 15)])
def test_tokens_wrong_around_a_writer_are_found(planted):
    assert len(checkers.tokens_rise_around_writers(READERS + [planted])) == 1


def test_a_writer_between_the_readers_before_it_is_found():
    readers = [visit("r1", 3, 5, 9, "GET"), visit("w", 2, 10, 11)]
    assert len(checkers.tokens_rise_around_writers(readers)) == 1


def test_one_who_is_served_before_one_who_came_earlier_is_found():
    # early has been in the queue since 100 at the latest (300 - 200), and late was sent at 160.
    visits = [visit("late", 1, 200, 250), visit("early", 2, 300, 310)]
    outcomes = [outcome("early", 99, wait_ms=200), outcome("late", 160, wait_ms=40)]
    assert len(checkers.first_come_first_served(visits, outcomes, 50 * MS)) == 1
    assert checkers.first_come_first_served(visits, outcomes, 60 * MS) == []


def test_the_order_of_those_who_came_together_is_free():
    visits = [visit("a", 1, 200, 250), visit("b", 2, 300, 310)]
    outcomes = [outcome("b", 100, wait_ms=200), outcome("a", 105, wait_ms=95)]
    assert checkers.first_come_first_served(visits, outcomes, 20 * MS) == []


def test_waiting_too_long_for_a_refusal_is_found():
    assert checkers.refused_in_time([outcome("r", 0, status=423, done_ms=1100)], 100 * MS) == []
    assert len(checkers.refused_in_time([outcome("r", 0, status=423, done_ms=1101)], 100 * MS)) == 1
    assert checkers.refused_in_time([outcome("ok", 0, status=200, done_ms=5000)], 100 * MS) == []


def test_false_answers_are_found():
    told = [outcome("a", 0), outcome("b", 0), outcome("c", 0), outcome("gone", 0, status=0)]
    assert checkers.answers_are_true(SOUND[:3], told) == []
    assert len(checkers.answers_are_true(SOUND[:2], told)) == 1
    assert len(checkers.answers_are_true(SOUND[:3] + [visit("a", 30, 20, 21)], told)) == 2
    refused = outcome("a", 0, status=503)
    for said, is_false in (("no", True), ("unknown", False), ("yes", False)):
        refused.executed = said
        assert bool(checkers.answers_are_true(SOUND[:1], [refused])) == is_false
    assert len(checkers.answers_are_true([], [outcome("a", 0, status=423)])) == 1


def test_stale_bytes_are_counted():
    def write(token, time_ms, size):
        return Write("x/k", "w", token, time_ms * MS, size)

    heads = [visit("old", 1, 0, None), visit("new", 2, 10, 20)]
    assert checkers.stale_bytes(heads, [write(1, 5, 100), write(2, 11, 7)]) == 0
    assert checkers.stale_bytes(heads, [write(1, 5, 100), write(1, 10, 30), write(2, 11, 7)]) == 30
    assert checkers.stale_bytes(heads, [write(None, 30, 3)]) == 3


def test_keys_of_queues_and_keys_without_an_end_are_found(redis_server):
    with redis_server.client() as client:
        client.zadd("lk:lock:{x/k}:q", {"x1": 1})
        client.set("lk:other", 1, px=100000)
        assert checkers.queued_keys(client) == [b"lk:lock:{x/k}:q"]
        assert checkers.immortal_keys(client) == [b"lk:lock:{x/k}:q"]


def test_many_problems_are_cut_short():
    crowd = [visit(f"v{i}", i, 0, None) for i in range(100)]
    found = checkers.no_overlaps(crowd)
    assert len(found) == checkers.MANY + 1 and found[-1] == "... and 89 more"
