import json
import socket
from pathlib import Path

import pytest

from kubelib.network.apiservice import service_port
from reference_cluster import networks
from reference_cluster.datadir import DataDirectory, DataDirectoryError
from reference_cluster.networks import PAIRS, own_networks, pair


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no cluster ran on this machine: what others here hold, is not looked at."""
    monkeypatch.setattr(networks, "LISTENING", Path("/nonexistent"))
    monkeypatch.setattr(networks, "FIRST_PODS", 190)
    monkeypatch.setattr(networks, "FIRST_SERVICES", 20)


def directory(path: Path, name: str) -> DataDirectory:
    (path / name).mkdir()
    return DataDirectory(path / name)


def test_the_first_cluster_gets_the_usual_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert (pair(0).pods, pair(0).services) == ("127.244.0.0/16", "127.96.0.0/16")


def test_no_two_clusters_can_get_the_same_network() -> None:
    every = [network for number in range(PAIRS) for network in (pair(number).pods, pair(number).services)]
    assert len(set(every)) == 2 * PAIRS


def test_clusters_that_run_at_once_have_networks_of_their_own(tmp_path: Path) -> None:
    with own_networks(directory(tmp_path, "a")) as one, own_networks(directory(tmp_path, "b")) as other:
        assert (one, other) == (pair(0), pair(1))
    with own_networks(directory(tmp_path, "c")) as after:
        assert after == pair(0)


def test_a_cluster_keeps_its_networks(tmp_path: Path) -> None:
    mine = directory(tmp_path, "mine")
    with own_networks(directory(tmp_path, "first")), own_networks(mine) as before:
        assert before == pair(1)
    with own_networks(mine) as again:
        assert again == pair(1)


def test_networks_where_pods_of_an_ended_cluster_listen_are_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.190.3.4", 0)):
        monkeypatch.setattr(networks, "LISTENING", Path("/proc/net/tcp"))
        with own_networks(directory(tmp_path, "a")) as found:
            assert found == pair(1)


def test_a_directory_from_before_there_was_a_choice_has_the_first_networks(tmp_path: Path) -> None:
    old = directory(tmp_path, "old")
    (old.path / "store.sqlite").touch()
    with own_networks(directory(tmp_path, "other")), own_networks(old) as found:
        assert found == pair(0)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"pods": "127.1.0.0/16"})])
def test_a_damaged_file_is_said_so(tmp_path: Path, text: str) -> None:
    mine = directory(tmp_path, "mine")
    (mine.path / "networks.json").write_text(text)
    with pytest.raises(DataDirectoryError, match=r"networks.json is damaged"), own_networks(mine):
        pass


def test_the_service_of_the_api_has_a_port_at_which_its_user_may_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(self: socket.socket, address: object) -> None:
        raise PermissionError

    assert service_port("192.0.2.1", 6443) == 443
    monkeypatch.setattr(socket.socket, "bind", refused)
    assert service_port("127.96.0.1", 6443) == 6443


def test_services_for_containers_are_where_no_route_of_this_machine_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "FIRST_SERVICES", 96)
    routes = tmp_path / "route"
    routes.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth1\t0003600A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"  # 10.96.3.0/24
    )
    monkeypatch.setattr(networks, "ROUTES", routes)
    with own_networks(directory(tmp_path, "a"), routed=True) as found:
        assert found.services == "10.97.0.0/16"
    with own_networks(DataDirectory(tmp_path / "a")) as again:
        assert again == found


def test_who_may_not_change_routes_is_told_what_follows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with networks.local_addresses("127.96.0.0/16"):
        assert not caplog.records
    with networks.local_addresses("10.96.0.0/16"):
        [record] = caplog.records
    assert "Services will not answer" in record.getMessage()


def test_all_addresses_of_a_network_are_this_machines_own_for_as_long_as_they_are_needed() -> None:
    def bound() -> bool:
        with socket.socket() as one:
            try:
                one.bind(("10.159.7.9", 0))
            except OSError:
                return False
            return True

    assert not bound()
    with networks.local_addresses("10.159.0.0/16"):
        assert bound()
    assert not bound()
