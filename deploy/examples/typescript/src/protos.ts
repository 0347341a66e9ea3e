// The protos of this repository, loaded at the start; their types are made by `npm run generate`.

import { fileURLToPath } from "node:url";
import { readFileSync } from "node:fs";

import { loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync, type Deserialize, type MessageTypeDefinition } from "@grpc/proto-loader";

import type { ProtoGrpcType } from "./generated/job_service.js";

const HERE = fileURLToPath(new URL("..", import.meta.url));
const PROTOS = fileURLToPath(new URL("../../../../proto", import.meta.url));

const definitions = loadSync(["stablequeue/jobs/v1/job_service.proto", "error_details.proto"], {
  includeDirs: [PROTOS, HERE],
  // The same as in the script `generate`, so that the types are true.
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});

const loaded = loadPackageDefinition(definitions) as unknown as ProtoGrpcType;

export const JobService = loaded.stablequeue.jobs.v1.JobService;

/** Which calls gRPC may repeat by itself. */
export const SERVICE_CONFIG = readFileSync(`${PROTOS}/service_config.json`, "utf8");

/** What reads a message of the given full name from its bytes. */
export function reader<Message extends object>(name: string): Deserialize<Message> {
  const definition = definitions[name];
  if (definition === undefined || !("deserialize" in definition)) {
    throw new Error(`the protos have no message ${name}`);
  }
  return (definition as MessageTypeDefinition<object, Message>).deserialize;
}
