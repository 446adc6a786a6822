"""A TCP proxy in front of Redis that holds replies back: commands arrive and are run, and whoever sent
them does not learn of it in time."""

import asyncio
import threading


class SlowWire:
    def __init__(self, port):
        """port: of the real server on 127.0.0.1."""
        self.target, self.port = port, None
        self.loop, self.started = asyncio.new_event_loop(), threading.Event()
        self.flows, self.held_count, self.tasks = None, 0, set()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.started.wait(10)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.open())
        self.loop.run_forever()
        for task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))
        self.loop.close()

    async def open(self):
        self.flows = asyncio.Event()
        self.flows.set()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.started.set()

    async def serve(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self.pass_commands(reader, redis_writer),
                                 self.pass_replies(redis_reader, writer))
        except OSError:
            pass
        finally:
            writer.close()
            self.tasks.discard(task)

    async def pass_commands(self, reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def pass_replies(self, reader, writer):
        while data := await reader.read(65536):
            if not self.flows.is_set():
                self.held_count += 1
                await self.flows.wait()
            writer.write(data)
        writer.close()

    def hold(self):
        """Replies stay here until let_go()."""
        self.loop.call_soon_threadsafe(self.flows.clear)

    def let_go(self):
        self.loop.call_soon_threadsafe(self.flows.set)

    def close(self):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
