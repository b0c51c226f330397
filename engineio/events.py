"""The handlers that applications register, of servers and clients alike."""

from collections.abc import Callable
from typing import Any

from engineio.request import positional_arguments


class Events:
    """Which function handles which event."""

    event_names = ["connect", "disconnect", "message"]

    handlers: dict[str, Callable[..., Any]]
    _arity: dict[str, tuple[Callable[..., Any], int]]

    def _register(self, event: str, handler: Callable[..., Any] | None) -> Any:
        """Set the handler of an event, or return the decorator that does."""
        if event not in self.event_names:
            raise ValueError("Invalid event")

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.handlers[event] = function
            return function

        if handler is None:
            return register
        register(handler)
        return None

    def _arguments_of(self, event: str, handler: Callable[..., Any]) -> int:
        """Return how many arguments the handler of an event takes."""
        known = self._arity.get(event)
        if known is None or known[0] is not handler:
            known = self._arity[event] = (handler, positional_arguments(handler))
        return known[1]
