// Whether and how long to wait before the next try, and when to stop trying.

import { setTimeout as sleep } from "node:timers/promises";

import { status } from "@grpc/grpc-js";

import { explain, isServiceError, retryMs } from "./failures.js";

const FIRST_MS = 200;
const LONGEST_MS = 5_000;

/** A stream said nothing for too long, not even that it is alive. */
export class SilentError extends Error {
  override name = "SilentError";
}

/** Waits longer from failure to failure, a random part of it, until its patience is over. */
export class Backoff {
  #failures = 0;
  #sinceMs: number | undefined;

  constructor(private readonly patienceMs: number) {}

  /** Begins anew: what comes next is a first failure. */
  succeeded(): void {
    this.#failures = 0;
    this.#sinceMs = undefined;
  }

  /** Waits before the next try, or throws the error when another cannot help or is too late. */
  async wait(error: unknown): Promise<void> {
    const lost = isServiceError(error) && error.code === status.UNAVAILABLE;
    if (!lost && !(error instanceof SilentError)) throw error;
    this.#sinceMs ??= performance.now();
    if (performance.now() - this.#sinceMs > this.patienceMs) throw error;
    const longestMs = Math.min(FIRST_MS * 2 ** this.#failures, LONGEST_MS);
    // So that many clients of one service do not come back at one instant.
    const jitteredMs = (longestMs * (1 + Math.random())) / 2;
    const waitMs = Math.max(jitteredMs, lost ? retryMs(error) : 0);
    this.#failures += 1;
    const why = lost ? explain(error) : error.message;
    console.error(`${why}; trying again in ${(waitMs / 1000).toFixed(1)} s`);
    await sleep(waitMs);
  }
}
