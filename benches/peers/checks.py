"""Does a proxy do what its row claims? Asked before anything is measured: a wrong config must end the comparison, not win it."""

from needs import Stop
from proxies import BODY, get


def proxies_well(server, case, tokens):
    """One request is answered by the upstream; with `auth`, the right identity arrives and bad tokens do not."""
    expect(server, "a good request", get(server.port, "/", bearer(tokens.repeated)), (200, BODY))
    if case == "plain":
        return
    # A claimed identity rides along, and must lose.
    spoofed = {**bearer(tokens.repeated), "X-User-ID": "root", "X-Tenant-ID": "root"}
    expect(server, "whom the upstream saw", get(server.port, "/whoami", spoofed), (200, f"user={tokens.user} tenant={tokens.tenant}"))
    refused(server, "without a token", get(server.port, "/"))
    refused(server, "with a broken token", get(server.port, "/", bearer(tokens.repeated[:-8] + "AAAAAAAA")))
    for manner, token in tokens.refused.items():
        refused(server, f"with a token {manner}", get(server.port, "/", bearer(token)))


def limits(server, tokens, limit):
    """A user who asks more than `limit` times within a second is told 429; another user is not. `limit` is the one it was started with."""
    for _ in range(5 * limit):
        if get(server.port, "/", bearer(tokens.repeated))[0] == 429:
            expect(server, "another user than the limited one", get(server.port, "/", bearer(tokens.another())), (200, BODY))
            return
    raise Stop(f"{server.name}: {5 * limit} requests, a limit of {limit}/s and no 429: the limit does not work")


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def expect(server, what, got, wanted):
    if got != wanted:
        raise Stop(f"{server.name}: {what}: expected {wanted}, got {got}\n{server.tail()}")


def refused(server, manner, got):
    if got[0] not in (401, 403):
        raise Stop(f"{server.name}: a request {manner} got {got[0]}, not 401 or 403\n{server.tail()}")
