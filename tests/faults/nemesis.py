"""Breaks one thing after the other, mends each, and says what it did."""

import random
import signal
import threading


class Nemesis(threading.Thread):
    """sidecars: a list of objects with .proxy (a Lockkeeper, running) and .restart().  wire: a SlowWire
    between one of them and Redis."""

    def __init__(self, seed, redis_server, sidecars, wire, lease_s):
        super().__init__(daemon=True)
        self.chance, self.redis_server, self.sidecars = random.Random(f"nemesis-{seed}"), redis_server, sidecars
        self.wire, self.lease_s = wire, lease_s
        self.stop_now, self.pause, self.done, self.problem = threading.Event(), threading.Event(), [], None

    def run(self):
        actions = [self.stop_sidecar, self.stop_sidecar, self.kill_sidecar, self.cut_messages, self.pause_redis,
                   self.empty_redis, self.restart_redis, self.forget_scripts, self.hold_replies]
        try:
            while not self.stop_now.wait(self.chance.uniform(0.05, 0.5)):
                action = self.chance.choice(actions)
                self.done.append(action.__name__)
                action()
        except Exception as problem:
            self.problem = problem

    def end(self):
        """Everything is mended when this returns."""
        self.stop_now.set()
        self.join(30)
        assert not self.is_alive() and self.problem is None, self.problem

    def for_a_while(self, least_s, most_s):
        self.pause.wait(self.chance.uniform(least_s, most_s))

    def stop_sidecar(self):
        victim = self.chance.choice(self.sidecars).proxy
        victim.send_signal(signal.SIGSTOP)
        self.for_a_while(0.2 * self.lease_s, 1.5 * self.lease_s)
        victim.send_signal(signal.SIGCONT)

    def kill_sidecar(self):
        self.chance.choice(self.sidecars).restart()

    def cut_messages(self):
        with self.redis_server.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def pause_redis(self):
        self.redis_server.stop_process()
        self.for_a_while(0.1, 0.6)
        self.redis_server.continue_process()

    def empty_redis(self):
        with self.redis_server.client() as client:
            client.flushall()

    def restart_redis(self):
        self.redis_server.kill()
        self.for_a_while(0, 0.3)
        self.redis_server.start()

    def forget_scripts(self):
        with self.redis_server.client() as client:
            client.script_flush()

    def hold_replies(self):
        self.wire.hold()
        self.for_a_while(0.1, 0.8)
        self.wire.let_go()
