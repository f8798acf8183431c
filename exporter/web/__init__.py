"""The exporter's HTTP side: an ASGI app, and a server that no idle, slow or rude client can hold up."""
