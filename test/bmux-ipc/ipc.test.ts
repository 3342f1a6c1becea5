// Tests both epochs against conversations with real servers (test/vectors) and the bytes of docs/bmux-protocol.md, "Example frames".
import t from 'tap';
import {
  decodeEnvelope,
  decodeRequest,
  decodeResponse,
  defaultContract,
  encodeRequestFrame,
  encodeResponseFrame,
  negotiate,
  REQUIRED_CAPABILITIES,
  type Request,
  type Response,
} from '../../daemon/bmux-ipc/ipc.ts';
import { FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import type { Epoch } from '../../daemon/bmux-ipc/epoch.ts';
import { vectors } from '../errors/root.ts';

interface Case {
  name: string;
  sent: string[];
  received: string;
  end: boolean;
}

const bytes = (text: string): Buffer => Buffer.from(text, 'hex');

function frames(stream: Buffer): Uint8Array[] {
  const reader = new FrameReader();
  reader.push(stream);
  const payloads: Uint8Array[] = [];
  for (let payload = reader.next(); payload !== undefined; payload = reader.next()) payloads.push(payload);
  return payloads;
}

/** Decodes a client's stream as a server of `epoch` does: the meaning of each frame, up to where the stream must end. */
function serve(epoch: Epoch, sent: Buffer): { answers: Buffer[]; end: boolean } {
  const answers: Buffer[] = [];
  const server = defaultContract(epoch);
  let greeted = false;
  for (const payload of frames(sent)) {
    let requestId: bigint;
    let request: Request;
    try {
      const envelope = decodeEnvelope(payload);
      if (envelope.version !== epoch) return { answers, end: true };
      requestId = envelope.requestId;
      request = decodeRequest(epoch, envelope.payload);
    } catch {
      return { answers, end: true };
    }
    const answer = (response: Response): void => {
      answers.push(encodeResponseFrame(epoch, requestId, response));
    };
    const invalid = (message: string): void => {
      answer({ type: 'error', code: 'invalid_request', message });
    };
    if (request.type === 'hello') {
      if (greeted) {
        invalid('hello request is only valid during handshake');
        continue;
      }
      const outcome = negotiate(server, request.contract, REQUIRED_CAPABILITIES[epoch]);
      if ('incompatible' in outcome) {
        answer({ type: 'hello_incompatible', reason: outcome.incompatible });
        return { answers, end: true };
      }
      answer({ type: 'hello_negotiated', negotiated: outcome.negotiated });
      greeted = true;
    } else if (!greeted) {
      invalid(epoch === 3 ? 'first request must be hello_v2' : 'first request must be hello');
      return { answers, end: true };
    } else if (request.type === 'ping') answer({ type: 'pong' });
    else answers.push(Buffer.alloc(0));
  }
  return { answers, end: false };
}

for (const [file, epoch] of [
  ['v3-local.json', 3],
  ['v4-local.json', 4],
] as const) {
  // oxfmt-ignore
  const { cases, principal } = vectors<{ cases: Case[]; principal: string }>(file);
  for (const one of cases) {
    t.test(`${file}: ${one.name}`, async (t) => {
      // Every frame that can be decoded is encoded to the same bytes.
      const asked: Request[] = [];
      for (const frame of one.sent.map(bytes)) {
        const [payload, ...others] = frames(frame);
        t.equal(others.length, 0);
        if (one.name === 'garbage') {
          t.throws(() => decodeEnvelope(payload ?? Buffer.alloc(0)), { code: 'frame_invalid' });
          continue;
        }
        const envelope = decodeEnvelope(payload ?? Buffer.alloc(0));
        const spoken = envelope.version as Epoch;
        const request = decodeRequest(spoken, envelope.payload);
        t.equal(
          encodeRequestFrame(spoken, envelope.requestId, request).toString('hex'),
          frame.toString('hex'),
        );
        if (request.type === 'hello') t.equal(request.principalId, principal);
        asked.push(request);
      }
      const received = frames(bytes(one.received)).map((payload) => decodeEnvelope(payload));
      const answers = received.map((envelope) => {
        t.equal(envelope.kind, 'response');
        return encodeResponseFrame(epoch, envelope.requestId, decodeResponse(epoch, envelope.payload));
      });
      t.equal(Buffer.concat(answers).toString('hex'), one.received);

      // Our decoding of the client's bytes explains the answer of the real server, and whether it ended the stream.
      const served = serve(epoch, bytes(one.sent.join('')));
      t.equal(served.end, one.end, 'the same end');
      t.equal(served.answers.length, received.length, 'as many answers');
      for (const [at, answer] of served.answers.entries())
        if (answer.length > 0) t.equal(answer.toString('hex'), answers[at]?.toString('hex'));
      t.ok(asked.length > 0 || one.name === 'garbage');
    });
  }
}

t.test('the values of captured answers', async (t) => {
  const answers = (file: string, name: string): Response[] => {
    const { cases } = vectors<{ cases: Case[] }>(file);
    const epoch = file.startsWith('v3') ? 3 : 4;
    return frames(bytes(cases.find((one) => one.name === name)?.received ?? '')).map((payload) =>
      decodeResponse(epoch, decodeEnvelope(payload).payload),
    );
  };
  const principalId = 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a';
  t.match(answers('v3-local.json', 'hello-then-status')[1], {
    type: 'server_status',
    running: true,
    principalId,
    snapshot: {
      enabled: true,
      path: /bmux-snapshot-v1\.json$/,
      exists: true,
      lastWriteMs: 1_795_397_528_215n,
    },
  });
  t.strictSame(answers('v4-local.json', 'hello-then-whoami')[1], {
    type: 'principal_identity',
    principalId,
    serverControlPrincipalId: principalId,
    forceLocalPermitted: true,
  });
  t.strictSame(answers('v4-local.json', 'hello-wrong-epoch-in-contract')[0], {
    type: 'hello_incompatible',
    reason: { type: 'wire_epoch_mismatch', client: 3, server: 4 },
  });
});

t.test('the bytes of docs/bmux-protocol.md, "Example frames"', async (t) => {
  const principalId = '00112233-4455-6677-8899-aabbccddeeff';
  const text = (name: string): string => Buffer.from(name).toString('hex');
  const contract = defaultContract(4);
  const hello = encodeRequestFrame(4, 1n, { type: 'hello', contract, clientName: 't', principalId });
  t.equal(
    hello.toString('hex'),
    `af000000040100aa010004010107` +
      `0c${text('core.control')}17${text('core.service_invocation')}11${text('core.event_stream')}0e${text('core.lifecycle')}` +
      `18${text('compression.payload.zstd')}1a${text('compression.transport.zstd')}17${text('compression.payload.lz4')}` +
      `01${text('t')}1000112233445566778899aabbccddeeff`,
  );
  const encoded = {
    ping4: encodeRequestFrame(4, 2n, { type: 'ping' }),
    ping3: encodeRequestFrame(3, 2n, { type: 'ping' }),
    pong4: encodeResponseFrame(4, 2n, { type: 'pong' }),
    status4: encodeResponseFrame(4, 3n, {
      type: 'server_status',
      running: true,
      principalId,
      serverControlPrincipalId: principalId,
    }),
    mismatch4: encodeResponseFrame(4, 1n, {
      type: 'hello_incompatible',
      reason: { type: 'wire_epoch_mismatch', client: 4, server: 3 },
    }),
    mismatch3: encodeResponseFrame(3, 1n, {
      type: 'hello_incompatible',
      reason: { type: 'wire_epoch_mismatch', client: 3, server: 4 },
    }),
  };
  t.strictSame(
    Object.fromEntries(Object.entries(encoded).map(([name, frame]) => [name, frame.toString('hex')])),
    {
      ping4: '050000000402000101',
      ping3: '050000000302000101',
      pong4: '06000000040201020000',
      status4:
        '290000000403012500020110' +
        '00112233445566778899aabbccddeeff' +
        '10' +
        '00112233445566778899aabbccddeeff',
      mismatch4: '0900000004010105000b000403',
      mismatch3: '0900000003010105000e000304',
    },
  );
});

t.test('the same number is another command in the other epoch', async (t) => {
  const stop = encodeRequestFrame(4, 1n, { type: 'server_stop' });
  const [payload] = frames(stop);
  const { payload: body } = decodeEnvelope(payload ?? stop);
  t.strictSame(decodeRequest(4, body), { type: 'server_stop' });
  t.match(decodeRequest(3, body), { type: 'other', index: 4 });
  t.match(decodeRequest(3, Buffer.of(7)), { type: 'server_stop' });
  t.match(decodeRequest(4, Buffer.of(7, 1, 2)), { type: 'other', index: 7, body: Buffer.of(1, 2) });
  for (const [epoch, first] of [
    [3, 15],
    [4, 13],
  ] as const)
    // oxfmt-ignore
    t.throws(() => decodeRequest(epoch, Buffer.of(first)), { code: 'frame_invalid' });
  t.throws(() => decodeRequest(4, Buffer.of(1, 0)), { code: 'frame_invalid' }, 'trailing bytes');
});

t.test('a Hello in the envelope of the other epoch does not decode', async (t) => {
  for (const [from, to] of [
    [3, 4],
    [4, 3],
  ] as const) {
    // oxfmt-ignore
    const principalId = '00112233-4455-6677-8899-aabbccddeeff';
    const hello = encodeRequestFrame(from, 1n, {
      type: 'hello',
      contract: defaultContract(from),
      clientName: 'x',
      principalId,
    });
    const [payload] = frames(hello);
    t.throws(() => decodeRequest(to, decodeEnvelope(payload ?? hello).payload), { code: 'frame_invalid' });
  }
});

t.test('negotiation takes the highest common revision and the sorted intersection', async (t) => {
  const server = { epoch: 4, revisions: { min: 2, max: 5 }, capabilities: ['b', 'a', 'only-server', 'c'] };
  const client = {
    epoch: 4,
    revisions: { min: 1, max: 4 },
    capabilities: ['c', 'only-client', 'a', 'b', 'a'],
  };
  t.strictSame(negotiate(server, client, ['a']), {
    negotiated: { wireEpoch: 4, revision: 4, capabilities: ['a', 'b', 'c'] },
  });
  t.strictSame(negotiate(server, client, ['only-server', 'a', 'only-client']), {
    incompatible: { type: 'missing_core_capabilities', missing: ['only-server', 'only-client'] },
  });
});
