"""The two ceilings of a cell, measured in the same run: the graph alone, and HTTP alone."""

from collections.abc import Callable
from functools import partial

from model_store.errors import StoreError
from model_store.places import Place
from service.bench.answers import Answers
from service.bench.client import closed
from service.bench.control import Control
from service.bench.errors import BenchError
from service.bench.exchange import Exchange, body_of
from service.bench.limits import Graph, graph_path, layouts
from service.bench.load import Target
from service.bench.servers import Process
from service.bench.tensors import Inputs, Tensors
from service.bench.windows import Ceiling, Cell
from service.runner import cpu_budget

ONNX_RUNTIME, ECHO = "onnxruntime", "echo"


class Ceilings:
    """Graphs come from ``store``; where there is none, HTTP is the only ceiling."""

    def __init__(self, store: Place | None, echo: Process, window_s: float) -> None:
        self._store, self._window_s = store, window_s
        self._echo = Control(echo.url)
        self._cores = cpu_budget()
        self._graph: Graph | None = None

    def take(self, inputs: Inputs, bodies: list[Tensors]) -> None:
        """From here on it is this model. Raises BenchError where the store has not got it."""
        if self._store is None:
            return
        try:
            path = graph_path(self._store, inputs.model)
        except StoreError as error:
            raise BenchError(f"--limits --store {self._store}: {error}") from None
        self._graph = Graph(path, bodies)

    def looks(self, cell: Cell, inputs: Inputs, answers: Answers) -> dict[str, Callable[[], float]]:
        """Name → one look at that ceiling, in requests a second."""
        connections = int(cell.load)
        looks: dict[str, Callable[[], float]] = {
            ECHO: partial(self._look_at_echo, answers, connections)
        }
        cell.ceilings[ECHO] = Ceiling()
        if self._graph is not None:
            fit = layouts(connections, cell.rows, self._cores, batches=inputs.batches)
            best = self._graph.best(fit)
            looks[ONNX_RUNTIME] = partial(self._graph.most_per_s, best, self._window_s)
            cell.ceilings[ONNX_RUNTIME] = Ceiling(detail="; ".join(map(str, best)))
        return looks

    def _look_at_echo(self, answers: Answers, connections: int) -> float:
        """The very bytes that the server is asked with. Raises BenchError where one is lost."""
        exchanges = tuple(_echoed(exchange) for exchange in answers.exchanges)
        target = Target(self._echo.host, self._echo.port, exchanges)
        take = closed(target, connections, self._window_s)
        wrong = sum(body_of(exchange.request) != body_of(got) for exchange, got in take.samples)
        if wrong or take.errors:
            raise BenchError(f"the echo fails: {dict(take.errors)}, {wrong} wrong answers")
        return take.requests_per_s


def _echoed(exchange: Exchange) -> Exchange:
    return Exchange(exchange.request, len(body_of(exchange.request)))
