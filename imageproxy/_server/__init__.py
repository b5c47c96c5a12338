"""What ``imageproxy serve`` runs: one process, one event loop, under uvicorn. Needs the extra ``server``.

::

    connection   uvicorn's, with a limit on how many there are, and on how slow they may be
    front        which part of the server answers a request; counted and logged
    health       /healthz and /readyz
    metrics      /metrics, where prometheus_client is there
    logs         lines of text, or of JSON
    run          from the sockets to the last queued write

One process is enough: photos are decoded on all cores beside the event loop, and a hit takes it a tenth of a
millisecond. It keeps the counters, the metrics and the shutdown in one place. Whoever needs more runs several on
one machine, each on a port of its own: they share the cache folder.

uvicorn, since it runs inside this process, on a loop that closes the service after it, and its connections are a plain
class that can be made stricter.
"""
