"""How a launcher's processes find one another, and which network interface they use."""

from datetime import timedelta
from typing import Any

import pytest
import torch

from firstlight.errors import UserError
from firstlight.training import joining
from firstlight.training.interface import VARIABLE, chosen_interface, own_address
from firstlight.training.joining import join_group
from firstlight.training.signs import ToldError


def _store() -> Any:
    distributed: Any = torch.distributed
    return distributed.HashStore()


def test_a_process_that_cannot_join_ends_the_others_at_once_and_the_first_tells() -> None:
    store = _store()
    store.set("here 0", "")
    store.set("failed", "process 1 (pid 7 on there): no such device")
    with pytest.raises(UserError, match=r"process 1 \(pid 7 on there\): no such device"):
        joining._wait_for_all(store, 0, 3)
    with pytest.raises(ToldError):
        joining._wait_for_all(store, 2, 3)


def test_processes_that_never_start_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store()
    for rank in (0, 2):
        store.set(f"here {rank}", "")
    monkeypatch.setattr(joining, "_COMING", timedelta(0))
    with pytest.raises(UserError, match=r"^process 1 and process 3 have not started"):
        joining._wait_for_all(store, 0, 4)


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 of WORLD_SIZE 2"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}, "'MASTER_PORT'"),
        ({"RANK": "0", "WORLD_SIZE": "two"}, "two"),
    ],
)
def test_variables_that_no_launcher_sets_are_told(
    variables: dict[str, str], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=wrong):
        join_group("cpu")


def test_gloo_is_left_alone_on_one_machine_and_where_a_user_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert chosen_interface(["10.0.0.1", "10.0.0.1"], 0) == ""
    monkeypatch.setattr("firstlight.training.interface._interface_with", "eth{}".format)
    assert chosen_interface(["10.0.0.1", "10.0.0.2"], 1) == "eth10.0.0.2"
    monkeypatch.setenv(VARIABLE, "eth7")
    assert chosen_interface(["10.0.0.1", "10.0.0.2"], 1) == ""
