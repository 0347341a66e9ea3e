// A client of JobService: submits once, watches to the end, downloads whole.

import { createHash } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { basename } from "node:path";

import { credentials, Metadata, type ClientReadableStream, type ServiceError } from "@grpc/grpc-js";

import { Backoff, SilentError } from "./backoff.js";
import { isServiceError, reason } from "./failures.js";
import type { GenerationParams } from "./generated/stablequeue/jobs/v1/GenerationParams.js";
import type { GetJobResponse__Output } from "./generated/stablequeue/jobs/v1/GetJobResponse.js";
import type { Image__Output } from "./generated/stablequeue/jobs/v1/Image.js";
import type { Job__Output } from "./generated/stablequeue/jobs/v1/Job.js";
import type { ListJobImagesResponse__Output } from "./generated/stablequeue/jobs/v1/ListJobImagesResponse.js";
import type { SubmitJobResponse__Output } from "./generated/stablequeue/jobs/v1/SubmitJobResponse.js";
import type { WatchJobResponse__Output } from "./generated/stablequeue/jobs/v1/WatchJobResponse.js";
import { JobService, SERVICE_CONFIG } from "./protos.js";

const CALL_MS = 30_000;
// A quiet watch has a heartbeat every 15 seconds: two of them may be late.
const QUIET_MS = 45_000;

/** What was downloaded is not what was announced. */
export class DamagedError extends Error {
  override name = "DamagedError";
}

/**
 * One connection to job-service, for one key.
 *
 * Unary calls that are safe to repeat are repeated by gRPC itself, as the service config beside the
 * protos says. Streams are taken up again here, for as long as the patience lasts without any answer.
 */
export class JobClient {
  readonly #jobs: InstanceType<typeof JobService>;
  readonly #metadata = new Metadata();

  constructor(
    address: string,
    token: string | undefined,
    private readonly patienceMs: number,
  ) {
    this.#jobs = new JobService(address, credentials.createInsecure(), {
      "grpc.service_config": SERVICE_CONFIG,
      "grpc.max_reconnect_backoff_ms": 2_000,
    });
    if (token) this.#metadata.set("authorization", `Bearer ${token}`);
  }

  close(): void {
    this.#jobs.close();
  }

  /** Hands in a job; the same id twice is one job. */
  submit(params: GenerationParams, requestId: string): Promise<SubmitJobResponse__Output> {
    const request = { params, requestId };
    return answered((done) => this.#jobs.submitJob(request, this.#metadata, deadline(), done));
  }

  /** A job as it is now. */
  async get(jobId: string): Promise<Job__Output> {
    const answer = await answered<GetJobResponse__Output>((done) =>
      this.#jobs.getJob({ jobId }, this.#metadata, deadline(), done),
    );
    if (!answer.job) throw new Error("the answer has no job");
    return answer.job;
  }

  /** Asks for the end of a job; the watch tells when it has come. */
  async cancel(jobId: string): Promise<void> {
    await answered((done) => this.#jobs.cancelJob({ jobId }, this.#metadata, deadline(), done));
  }

  /** What happens to a job after the token, to its end, across lost connections. */
  async *watch(jobId: string, resumeToken: string): AsyncGenerator<WatchJobResponse__Output> {
    const backoff = new Backoff(this.patienceMs);
    for (;;) {
      try {
        for await (const message of read(this.#jobs.watchJob({ jobId, resumeToken }, this.#metadata))) {
          backoff.succeeded();
          resumeToken = message.resumeToken || resumeToken;
          yield message;
        }
        return;
      } catch (error) {
        if (resumeToken && isServiceError(error) && reason(error) === "WATCH_HISTORY_GONE") {
          console.error("the history is gone: going on with the job as it is now");
          resumeToken = "";
        } else {
          await backoff.wait(error);
        }
      }
    }
  }

  /** What images a job has. */
  async images(jobId: string): Promise<Image__Output[]> {
    const answer = await answered<ListJobImagesResponse__Output>((done) =>
      this.#jobs.listJobImages({ jobId }, this.#metadata, deadline(), done),
    );
    return answer.images;
  }

  /**
   * Brings an image to a file, which is there only when it is whole. Bytes that an earlier try left in
   * the `.part` file are not fetched again.
   */
  async download(jobId: string, image: Image__Output, file: string): Promise<void> {
    const part = `${file}.part`;
    const backoff = new Backoff(this.patienceMs);
    const digest = createHash("sha256");
    const output = await open(part, "a");
    try {
      const kept = await readFile(part);
      digest.update(kept);
      let received = kept.length;
      const { position } = image;
      while (received < Number(image.sizeBytes)) {
        if (received > 0) console.error(`downloading ${basename(file)} from byte ${received} on`);
        const request = { jobId, position, offsetBytes: received };
        try {
          for await (const { data } of read(this.#jobs.downloadImage(request, this.#metadata))) {
            await output.appendFile(data);
            digest.update(data);
            received += data.length;
            backoff.succeeded();
          }
          break;
        } catch (error) {
          await backoff.wait(error);
        }
      }
    } finally {
      await output.close();
    }
    if (digest.digest("hex") !== image.sha256) {
      await rm(part);
      throw new DamagedError(`${basename(file)} is not what was announced: ${image.sha256}`);
    }
    await rename(part, file);
  }
}

function deadline(): { deadline: Date } {
  return { deadline: new Date(Date.now() + CALL_MS) };
}

type Done<Answer> = (error: ServiceError | null, answer?: Answer) => void;

/** The answer of a unary call as a promise. */
function answered<Answer>(call: (done: Done<Answer>) => unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    call((error, answer) => {
      if (error) reject(error);
      else if (answer === undefined) reject(new Error("the call was answered with nothing"));
      else resolve(answer);
    });
  });
}

/** The messages of a stream; throws SilentError when it is silent for too long. */
async function* read<Message>(call: ClientReadableStream<Message>): AsyncGenerator<Message> {
  let silent = false;
  const timer = setTimeout(() => {
    silent = true;
    call.cancel();
  }, QUIET_MS);
  // The loop below sees each error; this is for the one that follows when the loop was left.
  call.on("error", () => undefined);
  try {
    for await (const message of call) {
      timer.refresh();
      yield message as Message;
    }
  } catch (error) {
    throw silent ? new SilentError(`nothing heard for ${QUIET_MS / 1000} s`) : error;
  } finally {
    clearTimeout(timer);
    call.cancel();
  }
}
