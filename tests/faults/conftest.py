"""What some servers cannot stand by themselves is left out."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not is_possible(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "not_on(name, ...): not on these servers")


def is_possible(item: pytest.Item) -> bool:
    server = getattr(getattr(item, "callspec", None), "params", {}).get("running")
    return all(server not in marker.args for marker in item.iter_markers("not_on"))
