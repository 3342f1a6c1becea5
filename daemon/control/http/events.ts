// What happened, kept for a while and told to whoever listens: `GET /v1/events`, server-sent events.
import type { ServerResponse } from 'node:http';
import { withoutCredentials } from '../../base/redact.ts';
import { ROUTINE_EVENTS, type BrokerEvent } from '../../api/answers.ts';

/** Events kept for a listener that comes late: what led to the refusal that it asks about. */
const KEPT = 200;
/** Of the routine ones, so many: a busy minute must not push out why a client was refused before it. */
const KEPT_ROUTINE = 100;
/** Characters of a text that an event has: what a peer sent may be part of it. */
const MAX_TEXT = 1000;
/** Listeners at once. */
const MAX_LISTENERS = 64;
/** Bytes that may wait for a listener that does not read; then it is cut. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** ms between two comments that keep the connection alive and find a listener that is gone. */
const KEEP_ALIVE_MS = 15_000;

export class Events {
  readonly #kept: BrokerEvent[] = [];
  /** Of those kept, how many are routine. */
  #routine = 0;
  readonly #listeners = new Set<ServerResponse>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => {
      for (const listener of this.#listeners) this.#write(listener, ':\n\n');
    }, KEEP_ALIVE_MS);
    this.#timer.unref();
  }

  add(event: Omit<BrokerEvent, 'atMs'> & { readonly atMs?: number }): void {
    const { target, detail } = event;
    const full: BrokerEvent = {
      ...event,
      atMs: event.atMs ?? Date.now(),
      ...(target === undefined ? {} : { target: shown(target) }),
      ...(detail === undefined ? {} : { detail: shown(detail) }),
    };
    this.#keep(full);
    for (const listener of this.#listeners) this.#write(listener, rendered(full));
  }

  /** How many follow. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** Turns `response` into a listener. False when there are too many. */
  listen(response: ServerResponse): boolean {
    if (this.#listeners.size >= MAX_LISTENERS) return false;
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    for (const event of this.#kept) response.write(rendered(event));
    response.write(':\n\n');
    this.#listeners.add(response);
    response.on('error', () => undefined);
    response.once('close', () => this.#listeners.delete(response));
    return true;
  }

  close(): void {
    clearInterval(this.#timer);
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
