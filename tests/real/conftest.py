"""What every test of a recipe needs: the built gateway on the recipe's own file, and the processes beside it.

All that a file of tests starts is its own, starts once, and is stopped when the file has ended, the last first.
"""

import contextlib
from pathlib import Path

import pytest

from gateway import Gateway, free_port
from processes import Process, service


@pytest.fixture(scope="module")
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def gateway_of(stack, tmp_path_factory):
    """`gateway_of("mlflow", MLFLOW_URL=…)`: serves by `deploy/recipes/mlflow.toml` as it is, with these variables."""

    def start(recipe, port=0, **variables):
        folder = tmp_path_factory.mktemp(Path(recipe).name)
        return stack.enter_context(Gateway(recipe, folder, port, variables))

    return start


@pytest.fixture(scope="module")
def start(stack, tmp_path_factory):
    """`start("mlflow", "server", …, env={…})`: any command; see `Process`."""

    def start(*command, **options):
        return stack.enter_context(Process(command, **options))

    return start


@pytest.fixture(scope="module")
def serve(stack):
    """`serve("echo.py", …)`: one of `tests/real/services`, serving on a free port; its `url` says where."""

    def start(name, *arguments, **options):
        return stack.enter_context(service(name, *arguments, **options))

    return start


@pytest.fixture(scope="module")
def port():
    """A port that is free now, for what must know it beforehand."""
    return free_port()
