// A stream of a server as a spare: the Hello on it was answered, and a Ping shows whether the server still answers.
import { HealthCheck, type PendingPing } from '../../hello/health-check.ts';
import type { ReadyStream } from '../../spares/spares.ts';
import type { OpenedStream } from './dialler.ts';

export interface SpareStream extends ReadyStream, Omit<OpenedStream, 'stream' | 'warm'> {
  /** ms, as the last check measured it; undefined before the first check. */
  readonly roundTripMs: () => number | undefined;
  /** The Ping that was under way when the spare was handed out. */
  readonly pending: () => PendingPing | undefined;
}

/** `measured` is called with the round trip of each health check, ms. */
export function asSpare(
  { stream, candidate, negotiated, hasMoved }: Omit<OpenedStream, 'warm'>,
  measured: (roundTripMs: number) => void,
): SpareStream {
  const health = new HealthCheck(stream, candidate.epoch);
  let pending: PendingPing | undefined;
  return {
    stream,
    candidate,
    negotiated,
    hasMoved,
    check: async (timeoutMs) => {
      const roundTripMs = await health.check(timeoutMs);
      measured(roundTripMs);
      return roundTripMs;
    },
    release: () => {
      pending = health.release();
      return pending !== undefined;
    },
    roundTripMs: () => health.roundTripMs,
    pending: () => pending,
  };
}
