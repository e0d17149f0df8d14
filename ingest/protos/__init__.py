"""AccelByte's event messages, generated from the protos beside them.

From the root of the repository:
``python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. ingest/protos/{account,statistic}.proto``
"""
