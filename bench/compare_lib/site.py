"""The temporary folder that a comparison lives in: certificates, keys, configurations with their blanks filled in."""

from pathlib import Path

from .processes import output

BENCH = Path(__file__).resolve().parent.parent

ORIGIN = "https://app.example"
SERVER_NAME = "localhost"
PATH = "/chat"
ISSUER = "https://login.example"
AUDIENCE = "bench"


class Site:
    """Where configurations and keys lie. wsgate makes the P-256 certificates and the ES256 key for all."""

    def __init__(self, folder, wsgate):
        self.folder = Path(folder)
        self.certs = self.folder / "certs"
        output([wsgate, "certs", self.certs], timeout=30)
        self.token_key = self.folder / "issuer.key"
        public = output([wsgate, "token", "key", "--private", self.token_key], timeout=30)
        (self.folder / "issuer.pub.pem").write_text(public)
        pair = [(self.certs / name).read_text() for name in ("server.pem", "server.key")]
        (self.certs / "server-and-key.pem").write_text("".join(pair))  # as HAProxy wants it

    def log(self, name):
        """The file that a process writes to."""
        return self.folder / f"{name}.log"

    def fill_in(self, template, **blanks):
        """Writes bench/`template` here with its `__BLANKS__` filled in, and returns where it is."""
        text = (BENCH / template).read_text()
        for blank, value in {"DIR": self.folder, **blanks}.items():
            text = text.replace(f"__{blank}__", str(value))
        filled = self.folder / template
        filled.parent.mkdir(parents=True, exist_ok=True)
        filled.write_text(text)
        return filled
