"""The metrics of the whole fleet as a Prometheus scrape reads them."""
