// What the embedded server answers after the Hello. Services echo, because a broker treats everything after the Hello as bytes.
import type { Request, Response } from '../../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../../daemon/bmux-ipc/epoch.ts';
import { Writer } from '../../../daemon/bmux-ipc/codec.ts';
import { decodeRawMode, type RawMode } from '../traffic.ts';

export interface Reply {
  readonly response: Response;
  /** The connection carries raw bytes after this answer. */
  readonly raw?: RawMode;
}

type Service = 'invoke_service' | 'emit' | 'subscribe' | 'poll' | 'enable_push';

/** Indexes of Request and of the answer in ResponsePayload (docs/bmux-protocol.md, "Requests" and "Answers"). */
const SERVICES: Record<Epoch, Record<Service, { readonly request: number; readonly answer: number }>> = {
  3: {
    invoke_service: { request: 8, answer: 11 },
    emit: { request: 10, answer: 10 },
    subscribe: { request: 11, answer: 6 },
    poll: { request: 12, answer: 7 },
    enable_push: { request: 13, answer: 8 },
  },
  4: {
    invoke_service: { request: 5, answer: 8 },
    emit: { request: 7, answer: 7 },
    subscribe: { request: 8, answer: 3 },
    poll: { request: 9, answer: 4 },
    enable_push: { request: 10, answer: 5 },
  },
};

/** Index of InvokeService; the server returns its body. */
export function invokeServiceIndex(epoch: Epoch): number {
  return SERVICES[epoch].invoke_service.request;
}

const invalid = (message: string): Reply => ({
  response: { type: 'error', code: 'invalid_request', message },
});

/** Without `serverId` the client owns the server, as in the captured conversations. */
export function answer(
  epoch: Epoch,
  request: Request,
  principalId: string,
  serverId: string | undefined,
): Reply {
  const serverControlPrincipalId = serverId ?? principalId;
  switch (request.type) {
    case 'hello':
    case 'hello_old':
      return invalid('hello request is only valid during handshake');
    case 'ping':
      return { response: { type: 'pong' } };
    case 'whoami': {
      const forceLocalPermitted = serverControlPrincipalId === principalId;
      return {
        response: { type: 'principal_identity', principalId, serverControlPrincipalId, forceLocalPermitted },
      };
    }
    case 'server_status':
      return { response: { type: 'server_status', running: true, principalId, serverControlPrincipalId } };
    case 'server_stop':
      return { response: { type: 'server_stopping' } };
    case 'other':
      return service(epoch, request.index, request.body);
  }
}

function service(epoch: Epoch, index: number, body: Uint8Array): Reply {
  const entries = Object.entries(SERVICES[epoch]) as [Service, { request: number; answer: number }][];
  const found = entries.find(([, service]) => service.request === index);
  if (found === undefined) return invalid(`the embedded server has no request ${index}`);
  const [name, { answer: answerIndex }] = found;
  const other = (bytes: Uint8Array): Response => ({ type: 'other', index: answerIndex, body: bytes });
  switch (name) {
    case 'invoke_service': {
      const raw = decodeRawMode(body);
      const response = other(new Writer(body.length + 10).bytes(body).finish());
      return raw === undefined ? { response } : { response, raw };
    }
    case 'emit':
      return { response: other(Uint8Array.of(1)) };
    case 'poll':
      return { response: other(Uint8Array.of(0)) };
    case 'subscribe':
    case 'enable_push':
      return { response: other(new Uint8Array()) };
  }
}
