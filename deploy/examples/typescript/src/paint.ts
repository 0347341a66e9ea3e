// Paints a picture with StableQueue: submits, watches, downloads; Ctrl-C cancels the job.
// The token of an API key is read from the environment variable STABLEQUEUE_TOKEN.

import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { explain, isServiceError } from "./failures.js";
import type { AttemptPhase__Output } from "./generated/stablequeue/jobs/v1/AttemptPhase.js";
import type { WatchJobResponse__Output } from "./generated/stablequeue/jobs/v1/WatchJobResponse.js";
import { JobClient } from "./job_client.js";

const FAILED = 1;
const USAGE = 2;
// What a shell shows for a program that ended with Ctrl-C.
const CANCELLED = 130;

const HELP = `usage: paint [options] PROMPT
  --address HOST:PORT  of job-service (127.0.0.1:50051)
  --out DIR            folder for the images (.)
  --steps N --width N --height N --seed N
  --request-id ID      one job for one id: start again with the same to go on with that job
  --patience SECONDS   how long to try without an answer (120)`;

class UsageError extends Error {}

interface Options {
  prompt: string;
  address: string;
  out: string;
  steps: number | undefined;
  width: number | undefined;
  height: number | undefined;
  seed: string | undefined;
  requestId: string;
  patienceMs: number;
}

function options(): Options {
  const text = { type: "string" } as const;
  const { values, positionals } = parsed(() =>
    parseArgs({
      allowPositionals: true,
      options: {
        address: { ...text, default: "127.0.0.1:50051" },
        out: { ...text, default: "." },
        steps: text,
        width: text,
        height: text,
        seed: text,
        "request-id": { ...text, default: randomUUID() },
        patience: { ...text, default: "120" },
      },
    }),
  );
  const [prompt, ...more] = positionals;
  if (prompt === undefined || more.length > 0) throw new UsageError("one prompt is needed");
  return {
    prompt,
    address: values.address,
    out: values.out,
    steps: whole("steps", values.steps),
    width: whole("width", values.width),
    height: whole("height", values.height),
    // Seeds are 64 bits wide: they stay text.
    seed: values.seed,
    requestId: values["request-id"],
    patienceMs: 1000 * (whole("patience", values.patience) ?? 0),
  };
}

function parsed<Result>(parse: () => Result): Result {
  try {
    return parse();
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function whole(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!Number.isInteger(number)) throw new UsageError(`--${name} is not a whole number: ${value}`);
  return number;
}

/** What a message of the watch tells; undefined where that is nothing. */
function describe({ update, snapshot, event, progress }: WatchJobResponse__Output): string | undefined {
  if (update === "snapshot" && snapshot) {
    return `${spoken(snapshot.state, "JOB_STATE_")} ${snapshot.hold?.message ?? ""}`.trimEnd();
  }
  if (update === "event" && event) {
    const changed = event.type === "JOB_EVENT_TYPE_PHASE_CHANGED";
    const words = [changed ? phase(event.phase) : spoken(event.type, "JOB_EVENT_TYPE_")];
    if (event.server) words.push(`on ${event.server}`);
    if (event.message) words.push(`(${event.message})`);
    return words.join(" ");
  }
  if (update === "progress" && progress) {
    const done = `${Math.round(100 * progress.fraction)}%`.padStart(4);
    return `${phase(progress.phase)} ${done}, step ${progress.step} of ${progress.steps}`;
  }
  return undefined;
}

function phase(name: AttemptPhase__Output): string {
  return spoken(name, "ATTEMPT_PHASE_");
}

function spoken(name: string, prefix: string): string {
  return name.slice(prefix.length).toLowerCase().replaceAll("_", " ");
}

/** Runs one job from its prompt to its files; answers the exit code. */
async function paint(client: JobClient, wanted: Options): Promise<number> {
  const stop = new AbortController();
  // Only once: the second Ctrl-C ends the program at once.
  process.once("SIGINT", () => stop.abort());
  const { prompt, steps, width, height, seed } = wanted;
  const taken = await client.submit({ prompt, steps, width, height, seed }, wanted.requestId);
  const jobId = taken.job?.jobId ?? "";
  console.log(`job ${jobId}, request id ${wanted.requestId}`);
  const cancel = async () => {
    console.log("cancelling");
    await client.cancel(jobId).catch((error: unknown) => console.error(`cannot cancel: ${said(error)}`));
  };
  if (stop.signal.aborted) await cancel();
  else stop.signal.addEventListener("abort", () => void cancel());
  for await (const message of client.watch(jobId, taken.resumeToken)) {
    const line = describe(message);
    if (line !== undefined) console.log(line);
  }
  const job = await client.get(jobId);
  switch (job.state) {
    case "JOB_STATE_COMPLETED":
      break;
    case "JOB_STATE_CANCELLED":
      return CANCELLED;
    case "JOB_STATE_FAILED":
      console.error(`${job.error?.code}: ${job.error?.message}`);
      return FAILED;
    default:
      console.error("the watch ended before the job did");
      return FAILED;
  }
  await mkdir(wanted.out, { recursive: true });
  for (const image of await client.images(jobId)) {
    const file = join(wanted.out, `${jobId}-${image.position}.png`);
    await client.download(jobId, image, file);
    console.log(`${file} (${image.width} x ${image.height}, seed ${image.seed})`);
  }
  return 0;
}

function said(error: unknown): string {
  if (isServiceError(error)) return explain(error);
  return error instanceof Error ? error.message : String(error);
}

async function main(): Promise<number> {
  let client: JobClient | undefined;
  try {
    const wanted = options();
    client = new JobClient(wanted.address, process.env["STABLEQUEUE_TOKEN"], wanted.patienceMs);
    return await paint(client, wanted);
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`${error.message}\n${HELP}`);
      return USAGE;
    }
    console.error(said(error));
    return FAILED;
  } finally {
    client?.close();
  }
}

process.exitCode = await main();
