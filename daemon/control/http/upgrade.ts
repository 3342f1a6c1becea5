// The way of an upgrade on the control socket: check it, make its plan, pass the socket to the engine.
import type { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from '../../base/log.ts';
import { refuse } from '../../sockets/http-answer.ts';
import type { HandoffSender } from '../../sockets/sender.ts';
import { takeRead } from '../../sockets/accepted-socket.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import { STREAM_PROTOCOL } from '../../api/request.ts';
import { PendingRequests } from '../planning/pending-requests.ts';
import { planStream, type PlanningDeps } from '../planning/plan-stream.ts';
import { requestIn } from './request-header.ts';

export interface UpgradeOptions extends PlanningDeps {
  readonly sender: HandoffSender;
  readonly log: Logger;
  readonly nextRequestId: () => string;
}

/** A handler for the HTTP server's `upgrade` event. */
export interface UpgradeHandler {
  handle(message: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Refuses what is being prepared and all that comes later, with `stopping`. */
  close(): void;
}

export function upgradeHandler(options: UpgradeOptions): UpgradeHandler {
  const { sender, log, settings } = options;
  const preparing = new PendingRequests();
  let closed = false;

  const planOf = async (message: IncomingMessage, socket: Socket, requestId: string) => {
    if (closed) throw fail('stopping');
    const waiting = preparing.size + sender.waiting;
    if (waiting >= settings()['streams.max_waiting']) throw fail('engine_busy', { count: waiting });
    check(message);
    const request = requestIn(message);
    if (request === undefined) throw fail('request_header_missing');
    const ms = settings()['control_plane.timeout'] + LIMITS.prepareMs;
    return preparing.run((signalOf) => planStream(request, requestId, options, signalOf), {
      socket,
      gone: () => fail('stream_ended', { id: requestId, who: 'its client' }),
      ms,
      late: () => fail('out_of_time', { ms, step: 'bmuxd made the plan' }),
    });
  };

  const serve = async (message: IncomingMessage, socket: Socket, head: Buffer): Promise<void> => {
    const requestId = options.nextRequestId();
    try {
      const plan = await planOf(message, socket, requestId);
      log.debug({ requestId, target: plan.destination.label, warnings: plan.client.warnings }, 'request');
      if (socket.destroyed) return;
      await sender.send(plan, socket, takeRead(socket, head));
    } catch (error) {
      const failure = asFailure(error);
      log.info({ requestId, code: failure.code, causes: failure.data.causes }, 'request refused');
      if (!socket.destroyed) refuse(socket, failure.data, requestId);
    }
  };

  return {
    handle: (message, socket, head) => {
      if (!(socket instanceof Socket)) {
        socket.destroy();
        return;
      }
      // Errors of a socket that is on its way to another process are that process's business.
      socket.on('error', () => undefined);
      socket.pause();
      serve(message, socket, head).catch((error: unknown) => {
        log.error({ err: asFailure(error).data }, 'upgrade failed');
        socket.destroy();
      });
    },
    close: () => {
      closed = true;
      preparing.giveUpAll(fail('stopping'));
    },
  };
}

/** Only `POST /v1/streams` upgrades, and only to our protocol: Node passes every Upgrade header on. */
function check(message: IncomingMessage): void {
  const method = message.method ?? '';
  const path = (message.url ?? '').split('?', 1)[0] ?? '';
  const protocol = message.headers.upgrade ?? '';
  if (method !== 'POST' || path !== '/v1/streams' || protocol.toLowerCase() !== STREAM_PROTOCOL) {
    throw fail('upgrade_unsupported', { method, path: path.slice(0, 200), protocol: protocol.slice(0, 200) });
  }
}
