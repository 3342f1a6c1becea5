// The latest events, and the clients that follow them with `GET /v1/events` (server-sent events).
import type { ServerResponse } from 'node:http';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { METRICS } from '../../api/metrics/table.ts';
import { ROUTINE_EVENTS, type BrokerEvent } from '../../api/answers.ts';

/** Events that are kept for new listeners, who often ask what led to a refusal. */
const KEPT = 200;
/** How many of the kept events may be routine ones, so that many streams do not displace an earlier refusal. */
const KEPT_ROUTINE = 100;
/** Longest target or detail of an event, characters. These texts may contain what a peer sent. */
const MAX_TEXT = 1000;
/** Most listeners at once. */
const MAX_LISTENERS = 64;
/** Bytes buffered for a listener that does not read. Beyond that its connection is destroyed. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** ms between two SSE comments. They keep a connection alive, and show when a listener is gone. */
const KEEP_ALIVE_MS = 15_000;

/** An engine of a later version may send events of other types. */
const COUNTED: ReadonlySet<string> = new Set(METRICS.bmuxd_events_total.labels.type);

export class Events {
  readonly #kept: BrokerEvent[] = [];
  /** Number of kept events that are routine. */
  #routine = 0;
  readonly #listeners = new Set<ServerResponse>();
  /** How many events of each type there were, those excepted that every stream causes. */
  readonly counts = new Map<string, number>();
  readonly #stopTimer: () => void;

  constructor() {
    this.#stopTimer = SYSTEM_CLOCK.every(KEEP_ALIVE_MS, () => {
      for (const listener of this.#listeners) this.#write(listener, ':\n\n');
    });
  }

  /** Keeps an event and sends it to all listeners. `atMs` defaults to now. Credentials are removed from target and detail. */
  readonly add = (event: Omit<BrokerEvent, 'atMs'> & { readonly atMs?: number }): void => {
    const { target, detail } = event;
    const full: BrokerEvent = {
      ...event,
      atMs: event.atMs ?? Date.now(),
      ...(target === undefined ? {} : { target: shown(target) }),
      ...(detail === undefined ? {} : { detail: shown(detail) }),
    };
    this.#keep(full);
    if (COUNTED.has(event.type)) this.counts.set(event.type, (this.counts.get(event.type) ?? 0) + 1);
    for (const listener of this.#listeners) this.#write(listener, rendered(full));
  };

  /** Number of listeners. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** Makes `response` a listener, and sends the kept events first. False when there are `MAX_LISTENERS` already. */
  listen(response: ServerResponse): boolean {
    if (this.#listeners.size >= MAX_LISTENERS) return false;
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    if (response.req.method === 'HEAD') {
      response.end();
      return true;
    }
    for (const event of this.#kept) response.write(rendered(event));
    response.write(':\n\n');
    this.#listeners.add(response);
    response.on('error', () => undefined);
    response.once('close', () => this.#listeners.delete(response));
    return true;
  }

  close(): void {
    this.#stopTimer();
    for (const listener of this.#listeners) listener.end();
    this.#listeners.clear();
  }

  #keep(event: BrokerEvent): void {
    this.#kept.push(event);
    if (ROUTINE_EVENTS.has(event.type)) this.#routine += 1;
    if (this.#routine > KEPT_ROUTINE) {
      this.#kept.splice(
        this.#kept.findIndex(({ type }) => ROUTINE_EVENTS.has(type)),
        1,
      );
      this.#routine -= 1;
    } else if (this.#kept.length > KEPT) {
      const oldest = this.#kept.shift();
      if (oldest !== undefined && ROUTINE_EVENTS.has(oldest.type)) this.#routine -= 1;
    }
  }

  #write(listener: ServerResponse, text: string): void {
    if (listener.writableLength > MAX_WAITING_BYTES) {
      this.#listeners.delete(listener);
      listener.destroy();
    } else listener.write(text);
  }
}

function shown(text: string): string {
  return withoutCredentials(text.slice(0, MAX_TEXT));
}

function rendered(event: BrokerEvent): string {
  return `event: ${event.type.replaceAll(' ', '-')}\ndata: ${JSON.stringify(event)}\n\n`;
}
