"""What a failed call says: google.rpc details in words."""

from typing import TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

Detail = TypeVar("Detail", bound=Message)


def details(error: grpc.aio.AioRpcError, kind: type[Detail]) -> Detail | None:
    """Answer the detail of one kind that a failure carries."""
    status = rpc_status.from_call(cast(grpc.Call, error))
    for packed in status.details if status else ():
        detail = kind()
        if packed.Unpack(detail):
            return detail
    return None


def reason(error: grpc.aio.AioRpcError) -> str:
    """Answer the stable reason of a failure; empty where it has none."""
    info = details(error, error_details_pb2.ErrorInfo)
    return info.reason if info else ""


def retry_seconds(error: grpc.aio.AioRpcError) -> float:
    """Answer how long the service asks to wait; 0 where it does not."""
    info = details(error, error_details_pb2.RetryInfo)
    return info.retry_delay.ToTimedelta().total_seconds() if info else 0.0


def explain(error: grpc.aio.AioRpcError) -> str:
    """Say a failure in words: its code, its text, its reason, and each field that is wrong."""
    named = reason(error)
    lines = [f"{error.code().name}: {error.details()}" + (f" ({named})" if named else "")]
    bad = details(error, error_details_pb2.BadRequest)
    for violation in bad.field_violations if bad else ():
        lines.append(f"  {violation.field}: {violation.description}")
    return "\n".join(lines)
