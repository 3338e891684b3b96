"""What happens before the first byte leaves: connecting, certificates, proxies, the ticket, idle connections."""

import base64
import contextlib
import select
import socket
import ssl
import time
from queue import Queue
from threading import Thread

import pytest

from etl.errors import ConfigError, VendorAwayError
from etl.vendor.client import Endpoint
from etl.vendor.connection import pool_to
from etl.vendor.feed import Cause, PollOutcome
from tests.certificates import a_certificate_of_our_own, an_expired_certificate
from tests.contract.scripted_vendor import HandClock, ScriptedVendor, a_client, a_ticket, answer, raw
from tests.ports import free_port

NOT_SENT = PollOutcome.NOT_SENT


@pytest.fixture
def vendor():
    with ScriptedVendor() as running:
        yield running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return a_certificate_of_our_own(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def tls_vendor(server_context):
    with ScriptedVendor(tls=server_context) as running:
        yield running


@contextlib.contextmanager
def with_session(vendor, *more, **settings):
    """Yield a client that has a session without having asked for one, so that the queue's connection is the first."""
    with a_client(vendor, *more, auth="hmac", secret=lambda: "signing-secret", **settings) as client:
        client.ensure_session()
        yield client


def test_a_refused_connection_sends_nothing():
    with with_session(f"http://127.0.0.1:{free_port()}") as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.CONNECT_REFUSED)
    assert (page.detail, page.body) == ("the vendor's server refused the connection", None)


def test_an_unknown_host_sends_nothing():
    with with_session("https://vendor.invalid") as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.DNS)


def test_a_server_that_accepts_nobody_sends_nothing():
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # the backlog is full: further connections are neither accepted nor refused
            each = waiting.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with with_session(url, connect_timeout_s=0.2) as client:
            page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.CONNECT_TIMEOUT)


def test_a_handshake_that_does_not_end_sends_nothing(server_context):
    with ScriptedVendor(tls=server_context, before_handshake_s=0.6) as vendor:
        with with_session(vendor, connect_timeout_s=0.2) as client:
            page = client.next_page(a_ticket(), 20)

        assert (page.outcome, page.cause) == (NOT_SENT, Cause.CONNECT_TIMEOUT)
        assert vendor.asked == []


def test_a_server_that_does_not_speak_tls_sends_nothing(vendor):
    with with_session(vendor.url.replace("http:", "https:")) as client:
        vendor.asked.clear()
        page = client.next_page(a_ticket(), 20)

    assert page.outcome is NOT_SENT
    assert page.cause in (Cause.TLS, Cause.CONNECT_TIMEOUT)


def test_a_certificate_that_nobody_vouches_for_is_refused_in_a_clear_sentence(tls_vendor):
    with with_session(tls_vendor) as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.TLS)
    assert "certificate of the vendor's server was not accepted: self" in page.detail
    assert "ca_file" in page.detail
    assert tls_vendor.asked == []


def test_a_certificate_that_is_over_is_refused_though_its_authority_is_named(tmp_path):
    certificate = an_expired_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with ScriptedVendor(tls=context) as vendor, with_session(vendor, ca_file=str(certificate[0])) as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.TLS)
    assert "certificate of the vendor's server was not accepted: certificate has expired" in page.detail
    assert vendor.asked == []


def test_a_login_tells_the_same_about_the_certificate(tls_vendor):
    with (
        a_client(tls_vendor) as client,
        pytest.raises(VendorAwayError, match=r"/v2/sso/login: the certificate .* self"),
    ):
        client.ensure_session()

    assert tls_vendor.asked == []


def test_the_certificate_is_accepted_when_its_authority_is_named(tls_vendor, certificate):
    with a_client(tls_vendor, ca_file=str(certificate[0])) as client:
        client.ensure_session()
        tls_vendor.will(answer())

        assert client.next_page(a_ticket(), 20).outcome is PollOutcome.PAGE


def test_a_certificate_for_another_host_is_refused(tls_vendor, certificate):
    url = tls_vendor.url.replace("127.0.0.1", "localhost")
    with with_session(url, ca_file=str(certificate[0])) as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.TLS)
    assert tls_vendor.asked == []


@pytest.mark.parametrize("shown", [True, False])
def test_a_client_certificate_is_shown_where_the_vendor_asks_for_one(certificate, server_context, shown):
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.load_verify_locations(str(certificate[0]))
    files = (str(certificate[0]), str(certificate[1]))
    with (
        ScriptedVendor(tls=server_context) as vendor,
        with_session(vendor, ca_file=files[0], client_cert=files if shown else None) as client,
    ):
        vendor.will(answer())
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome is PollOutcome.PAGE) is shown
    assert bool(vendor.asked) is shown


def test_tls_below_1_2_is_not_agreed_to(tls_vendor, certificate, server_context):
    server_context.set_ciphers("ALL:@SECLEVEL=0")
    server_context.options &= ~(ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        server_context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server_context.maximum_version = ssl.TLSVersion.TLSv1_1
    with with_session(tls_vendor, ca_file=str(certificate[0])) as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.TLS)


def test_a_cut_tls_answer_is_in_doubt(tls_vendor, certificate):
    with with_session(tls_vendor, ca_file=str(certificate[0])) as client:
        tls_vendor.will(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1", then="close"), raw(then="hold"))

        cut, silent = client.next_page(a_ticket(), 20), client.next_page(a_ticket(), 20)

    assert (cut.outcome, cut.cause, cut.body) == (PollOutcome.IN_DOUBT, Cause.CUT, b"[1")
    assert (silent.outcome, silent.cause) == (PollOutcome.IN_DOUBT, Cause.TIMEOUT)
    assert len(tls_vendor.asked) == 2


def test_law_12_the_ticket_is_checked_after_a_slow_connect(server_context, certificate):
    with ScriptedVendor(tls=server_context, before_handshake_s=0.4) as vendor:
        with with_session(vendor, ca_file=str(certificate[0])) as client:
            late = client.next_page(a_ticket(life_s=0.2), 20)
            in_time = client.next_page(a_ticket(life_s=2.0), 20)

        assert (late.outcome, late.cause) == (NOT_SENT, Cause.TICKET_EXPIRED)
        assert "too late and was not sent" in late.detail
        assert in_time.outcome is PollOutcome.EMPTY
        assert len(vendor.asked) == 1
        assert vendor.connections == 2


def test_law_12_the_ticket_is_checked_after_a_slow_plain_connect_too():
    with socket.socket() as listener, contextlib.ExitStack() as open_sockets:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first = open_sockets.enter_context(socket.create_connection(listener.getsockname()))  # fills the backlog
        came = []

        def accept_late():
            time.sleep(0.3)  # the kernel asks again to connect after a second
            listener.settimeout(3)
            for _ in (first, "ours"):
                accepted, _ = listener.accept()
                open_sockets.enter_context(accepted)
            accepted.settimeout(3)
            came.append(accepted.recv(1))

        late = Thread(target=accept_late)
        late.start()
        with with_session(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_timeout_s=3.0) as client:
            page = client.next_page(a_ticket(life_s=0.5), 20)
        late.join()

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.TICKET_EXPIRED)
    assert came == [b""]


def test_law_3_a_connection_idle_for_over_a_second_is_not_used_again(vendor):
    clock = HandClock()
    with with_session(vendor, clock) as client:
        client.next_page(a_ticket(clock), 20)
        clock.seconds += 1.0
        client.next_page(a_ticket(clock), 20)
        within = vendor.connections
        clock.seconds += 1.01
        client.next_page(a_ticket(clock), 20)

    assert (within, vendor.connections) == (1, 2)
    assert len(vendor.asked_for()) == 3


@pytest.mark.parametrize(
    "doubtful", [answer(500, b""), answer(200, b"{}"), answer(200, b"[]", echo="else"), raw(then="hold")]
)
def test_law_3_after_doubt_the_next_request_goes_over_a_new_connection(vendor, doubtful):
    with with_session(vendor) as client:
        vendor.will(doubtful)
        client.next_page(a_ticket(), 20)
        client.next_page(a_ticket(), 20)

    assert [each.connection for each in vendor.asked_for()] == [0, 1]


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n["])
def test_after_a_time_out_the_connection_is_reset_at_once(vendor, begun):
    ended = Queue()

    def note_the_end(to, _asked):
        to.sendall(begun)
        to.settimeout(3)
        try:
            ended.put(to.recv(1))
        except OSError as error:
            ended.put(type(error))

    with with_session(vendor) as client:
        vendor.will(note_the_end)
        client.next_page(a_ticket(), 20)

        assert ended.get(timeout=60) is ConnectionResetError


def test_a_connection_that_the_vendor_closed_meanwhile_is_not_used(vendor):
    with with_session(vendor) as client:
        vendor.will(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", then="close"))
        first = client.next_page(a_ticket(), 20)
        for thread in vendor._threads[1:]:
            thread.join(2)

        second = client.next_page(a_ticket(), 20)

    assert (first.outcome, second.outcome) == (PollOutcome.EMPTY, PollOutcome.EMPTY)
    assert vendor.connections == 2


def test_law_3_no_proxy_from_the_environment_is_used(vendor, monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for each in (name, name.lower()):
            monkeypatch.setenv(each, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nothing.pem"))

    with a_client(vendor) as client:
        client.ensure_session()
        page = client.next_page(a_ticket(), 20)

    assert page.outcome is PollOutcome.EMPTY
    assert all("authorization" not in each.headers for each in vendor.asked)


def test_the_queues_socket_gives_up_on_a_dead_network_as_the_read_timeout_does(vendor):
    endpoint = Endpoint(base_url=vendor.url, org="o", user="u", read_timeout_s=7)
    pool = pool_to(endpoint, HandClock())
    connection = pool._new_conn()
    connection.connect()
    sock = connection.sock
    options = [
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    ]
    connection.close()
    pool.close()

    assert options == [7000, 1, 1]


class Proxy:
    """A proxy that tunnels, or refuses to."""

    def __init__(self, refuse=b""):
        self.refuse, self.heads = refuse, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    self._tunnel(client)

    def _tunnel(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.heads.append(head)
        if self.refuse:
            client.sendall(self.refuse)
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            ends = {client: server, server: client}
            while True:
                for each in select.select(list(ends), [], [], 5)[0]:
                    if not (came := each.recv(65536)):
                        return
                    ends[each].sendall(came)


def test_a_proxy_that_is_named_tunnels(tls_vendor, certificate):
    with (
        Proxy() as proxy,
        with_session(
            tls_vendor, ca_file=str(certificate[0]), proxy=f"http://somebody:pass%20word@{proxy.address}"
        ) as client,
    ):
        tls_vendor.will(answer())
        page = client.next_page(a_ticket(), 20)

    assert page.outcome is PollOutcome.PAGE
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{tls_vendor.port} ".encode())
    assert base64.b64encode(b"somebody:pass word") in proxy.heads[0]
    assert "proxy-authorization" not in tls_vendor.asked[0].headers


def test_a_proxy_is_asked_again_when_the_connection_was_idle_for_long(tls_vendor, certificate):
    clock = HandClock()
    with (
        Proxy() as proxy,
        with_session(
            tls_vendor, clock, ca_file=str(certificate[0]), proxy=f"http://u:tunnel-password@{proxy.address}"
        ) as client,
    ):
        first = client.next_page(a_ticket(clock), 20)
        clock.seconds += 60
        second = client.next_page(a_ticket(clock), 20)

    assert (first.outcome, second.outcome) == (PollOutcome.EMPTY, PollOutcome.EMPTY)
    assert len(proxy.heads) == 2


def test_the_proxys_password_is_not_kept_in_its_address():
    proxy = "http://u:tunnel-password@proxy.example.com:3128"
    endpoint = Endpoint(base_url="https://fx.example.com", org="o", user="u", proxy=proxy)

    assert str(pool_to(endpoint, HandClock()).proxy) == "http://proxy.example.com:3128"
    assert "tunnel-password" not in repr(endpoint)


def test_requests_of_several_threads_wait_for_each_other_and_do_not_mix(server_context, certificate):
    with ScriptedVendor(tls=server_context, before_handshake_s=0.2) as vendor:
        with with_session(vendor, ca_file=str(certificate[0])) as client:
            tickets, pages = [a_ticket() for _ in range(3)], []
            threads = [Thread(target=lambda t=t: pages.append(client.next_page(t, 20))) for t in tickets]
            for each in threads:
                each.start()
            for each in threads:
                each.join()

        assert [page.outcome for page in pages] == [PollOutcome.EMPTY] * 3
        assert {each.request_id for each in vendor.asked} == {ticket.request_id for ticket in tickets}


def test_a_proxy_that_refuses_sends_nothing(tls_vendor):
    refuse = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    with Proxy(refuse) as proxy, with_session(tls_vendor, proxy=f"http://u:tunnel-password@{proxy.address}") as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.PROXY)
    assert "407" in page.detail
    assert "tunnel-password" not in page.detail
    assert tls_vendor.connections == 0


def test_a_proxy_that_is_away_sends_nothing(tls_vendor):
    with with_session(tls_vendor, proxy=f"http://127.0.0.1:{free_port()}") as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOT_SENT, Cause.PROXY)
    assert tls_vendor.connections == 0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"base_url": "http://fx.example.com"}, "base_url: plain http"),
        ({"base_url": "http://127.0.0.1.example.com"}, "base_url: plain http"),
        ({"base_url": "http://10.0.0.1:8080"}, "base_url: plain http"),
        ({"base_url": "ftp://127.0.0.1"}, "base_url: has to look like"),
        ({"base_url": "fx.example.com"}, "base_url: has to look like"),
        ({"base_url": "https://user:secret@fx.example.com"}, "base_url: must not hold credentials"),
        ({"base_url": "https://fx.example.com?x=1"}, "base_url: must not hold"),
        ({"base_url": "https://fx.example.com:99999"}, "base_url: cannot be read"),
        ({"renew_path": "/v2/trades/stp/messages?maxCount=50"}, "renew_path"),
        ({"renew_path": "/v2/trades//STP%2Fmessages"}, "renew_path"),
        ({"auth": "hmac", "user": 'a"b'}, "user: with hmac"),
        ({"auth": "basic"}, "auth"),
        ({"base_url": "http://localhost:1", "proxy": "http://p:1"}, "proxy: makes no sense"),
        ({"proxy": "socks5://p:1"}, "proxy: has to look like"),
        ({"read_timeout_s": 0}, "read_timeout_s"),
    ],
)
def test_settings_that_must_not_be_used_are_refused(settings, key):
    with pytest.raises(ConfigError, match=key) as refused:
        Endpoint(**{"base_url": "https://fx.example.com", "org": "o", "user": "u"} | settings)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://localhost", "http://127.8.8.8:80", "http://[::1]:8080", "https://fx.example.com/x/"]
)
def test_addresses_that_may_be_used(url):
    assert Endpoint(base_url=url, org="o", user="u").base_url == url


@pytest.mark.parametrize(
    "settings", [{"ca_file": "/nowhere/ca.pem"}, {"client_cert": ("/nowhere/c.pem", "/nowhere/k.pem")}]
)
def test_files_that_are_not_there_are_named_at_the_start(settings):
    endpoint = Endpoint(base_url="https://fx.example.com", org="o", user="u", **settings)

    with pytest.raises(ConfigError, match=r"(ca_file|client_cert): .*/nowhere/.* cannot be used: No such file"):
        pool_to(endpoint, HandClock())
