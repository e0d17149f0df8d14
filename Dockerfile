# The image of every Questline process; the verb after `questline` says which one: receiver, worker, beat, flower, migrate.
# It holds neither the embedded servers nor the tools for development.

FROM python:3.13-slim AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/questline

# Dependencies first: this layer is built again only when they change.
COPY requirements/product.txt requirements/product.txt
RUN /opt/questline/bin/pip install --require-hashes -r requirements/product.txt

COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY models models
COPY ingest ingest
COPY api api
COPY tasks tasks
COPY migrations migrations
COPY web web
COPY worker worker
COPY cli cli
COPY tools tools
RUN /opt/questline/bin/pip install --no-deps .


FROM python:3.13-slim
LABEL org.opencontainers.image.title="Questline" \
      org.opencontainers.image.description="Events in, exact progress out." \
      org.opencontainers.image.licenses="Apache-2.0"

RUN useradd --system --uid 10001 --no-create-home --home-dir /var/lib/questline questline \
 && install -d -o questline -g questline /var/lib/questline
COPY --from=build /opt/questline /opt/questline
COPY deploy/healthcheck.py /opt/questline/healthcheck.py

ENV PATH=/opt/questline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    QUESTLINE_DATA_DIR=/var/lib/questline \
    HTTP_HOST=0.0.0.0
USER questline
WORKDIR /var/lib/questline

# HTTP, gRPC, metrics, Flower.
EXPOSE 8000 6566 8081 5555

# Of the receiver, the default process; docker-compose.yml gives the others their own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "/opt/questline/healthcheck.py", "receiver"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["questline"]
CMD ["receiver"]
