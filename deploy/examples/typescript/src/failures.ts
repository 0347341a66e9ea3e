// What a failed call says: google.rpc details in words.

import { status, type ServiceError } from "@grpc/grpc-js";

import type { BadRequest__Output } from "./generated/google/rpc/BadRequest.js";
import type { ErrorInfo__Output } from "./generated/google/rpc/ErrorInfo.js";
import type { RetryInfo__Output } from "./generated/google/rpc/RetryInfo.js";
import { reader } from "./protos.js";

/** The parts of a google.protobuf.Any as they are on the wire. */
interface Packed {
  type_url: string;
  value: Buffer;
}

const readStatus = reader<{ details: Packed[] }>("google.rpc.Status");
const readErrorInfo = reader<ErrorInfo__Output>("google.rpc.ErrorInfo");
const readRetryInfo = reader<RetryInfo__Output>("google.rpc.RetryInfo");
const readBadRequest = reader<BadRequest__Output>("google.rpc.BadRequest");

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}

/** The detail of one kind that a failure carries. */
function detail<Detail>(error: ServiceError, kind: string, read: (bytes: Buffer) => Detail): Detail | undefined {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(packed)) return undefined;
  const found = readStatus(packed).details.find((each) => each.type_url.endsWith(`/${kind}`));
  return found && read(found.value);
}

/** The stable reason of a failure; empty where it has none. */
export function reason(error: ServiceError): string {
  return detail(error, "google.rpc.ErrorInfo", readErrorInfo)?.reason ?? "";
}

/** How long the service asks to wait; 0 where it does not. */
export function retryMs(error: ServiceError): number {
  const delay = detail(error, "google.rpc.RetryInfo", readRetryInfo)?.retryDelay;
  return delay ? Number(delay.seconds) * 1000 + delay.nanos / 1e6 : 0;
}

/** A failure in words: its code, its text, its reason, and each field that is wrong. */
export function explain(error: ServiceError): string {
  const named = reason(error);
  const lines = [`${status[error.code]}: ${error.details}${named && ` (${named})`}`];
  const bad = detail(error, "google.rpc.BadRequest", readBadRequest);
  for (const violation of bad?.fieldViolations ?? []) {
    lines.push(`  ${violation.field}: ${violation.description}`);
  }
  return lines.join("\n");
}
