"""Ready-made observers, a module for each kind of monitoring; the seam is ``imageproxy.protocols.Observer``.

``imageproxy.observers.prometheus``   counters and histograms for Prometheus (extra: prometheus)
"""
