"""The retriever as a service, from a catalogue's file to a listening port."""

import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from configs.load import load_config
from retriever.base.errors import UserError
from retriever.build import build_index, configured_encoder
from retriever.catalogue import Catalogue
from retriever.config import TOKEN_VARIABLE, RetrieverConfig
from retriever.journal import Journal
from retriever.live import LiveRetriever
from retriever.service import ServiceConfig, listening, make_app


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedConfig:
    """What `toolscout retriever serve` reads of its settings."""

    retriever: RetrieverConfig = field(default_factory=RetrieverConfig)


def retriever_config(overrides: Sequence[str]) -> ServedConfig:
    """Raises UserError."""
    return load_config(ServedConfig, None, overrides)


def serve(
    path: Path,
    config: ServedConfig,
    *,
    host: str,
    port: int,
    token: str | None,
    journal: Path | None = None,
    **limits: float,
) -> None:
    """Index the catalogue and serve it until interrupted. Raises UserError, among others when the port is taken.

    With a `journal` changes are kept there, and a start goes on with those that it holds.
    """
    service = ServiceConfig(token=token, **limits)  # type: ignore[arg-type]
    if token is None and host not in ("127.0.0.1", "::1", "localhost"):
        raise UserError(
            f"--host {host}: others could reach this service, and it asks for no token; "
            f"set {TOKEN_VARIABLE}, or listen on 127.0.0.1"
        )
    if config.retriever.url is not None:
        raise UserError("retriever.url: a service builds its own index; leave the address out")
    logging.getLogger("retriever").addHandler(logging.StreamHandler())
    taken = _listening(host, port)  # before the index is built: a taken port is known at once
    catalogue = Catalogue.load(path)
    settings = config.retriever
    if (log := None if journal is None else Journal(journal)) is not None:
        catalogue = log.replay(catalogue)
    encoder = None if settings.kind == "bm25" else configured_encoder(settings)
    live = LiveRetriever(catalogue, lambda tools: build_index(settings, tools, encoder=encoder), log=log)
    app = make_app(live, service, reload=lambda: Catalogue.load(path))
    address, number = taken.getsockname()[:2]
    where = f"http://[{address}]:{number}" if ":" in address else f"http://{address}:{number}"
    print(f"serving {len(catalogue)} tools of {path} at {where}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)).run(sockets=[taken])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return listening(host, port)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror or error}; give another port, e.g. 0") from None
