"""What a daemon's metrics say."""


def metrics(machine, port: int) -> dict[str, str]:
    """A daemon's metrics by name and labels."""
    code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
    lines = machine.succeed(f'python3 -c "{code}"').splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
