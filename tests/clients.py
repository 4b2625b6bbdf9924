"""Clients of a service that ask the same photograph all the time."""

import json
import threading
from pathlib import Path

from served import Service


class Clients:
    """Threads that ask the same photograph all the time."""

    def __init__(self, service: Service, photograph: Path, count: int) -> None:
        self.service, self.path = service, photograph
        self.seen: list[tuple[int, str, str]] = []  # status, version of the map, answer
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            answer = self.service.locate(self.path)
            told = answer.json
            given = told["answers"][0]
            results = [(r["database"], r["distance"]) for r in given["results"]]
            about = json.dumps([results, given["confidence"], given["sure"]])
            self.seen.append((answer.status, told["map"]["version"], about))

    def versions(self) -> list[str]:
        return list(dict.fromkeys(version for _, version, _ in self.seen))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
