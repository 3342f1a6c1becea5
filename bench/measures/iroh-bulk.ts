// Bytes per second over iroh, beside the maximum of the binding itself, and terminal text through a gateway that compresses.
import { startBmuxd } from '../../test/daemon/bmuxd.ts';
import { launchEmbedded } from '../../test/embedded/launch.ts';
import {
  bindRaw,
  ByteArrays,
  closeRaw,
  connectRaw,
  PIECE,
  readRaw,
  type RawConnection,
  type RawEndpoint,
} from '../../daemon/transport/iroh/binding.ts';
import { INVOKE_SERVICE, noiseOf, type Kind, type Order } from '../rig/bulk-order.ts';
import { moveThroughBroker, startBulkFar } from './bulk.ts';
import { SETTINGS } from '../rig/far.ts';
import { timed, type Bench, type Goal, type Measure } from '../measure.ts';
import { FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import { defaultContract, encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';
import { Writer } from '../../daemon/bmux-ipc/codec.ts';

const MB = 1e6;

interface Gateway {
  readonly endpointId: string;
  readonly address: string;
}

/** An endpoint and a connection, both referenced so that the binding does not close them. */
class Bare {
  readonly #endpoint: RawEndpoint;
  readonly #connection: RawConnection;

  private constructor(endpoint: RawEndpoint, connection: RawConnection) {
    this.#endpoint = endpoint;
    this.#connection = connection;
  }

  static async to(gateway: Gateway): Promise<Bare> {
    const endpoint = await bindRaw('disabled', { bindAddr: '127.0.0.1:0' });
    const connection = await connectRaw(endpoint, { id: gateway.endpointId, ipAddr: gateway.address });
    return new Bare(endpoint, connection);
  }

  async stop(): Promise<void> {
    closeRaw(this.#connection);
    await this.#endpoint.close();
  }

  /** MB/s of the binding alone: a warm connection, one stream, reads or writes in a loop. */
  async move(what: Order): Promise<number> {
    const { send, recv } = await this.#connection.openBi();
    const arrays = new ByteArrays();
    const reader = new FrameReader();
    const answer = async (): Promise<void> => {
      while (reader.next() === undefined) {
        const chunk = await readRaw(recv);
        if (chunk === undefined) throw new Error('the stream ended before an answer');
        reader.push(chunk);
      }
    };
    const principalId = 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a';
    const contract = defaultContract(4);
    await arrays.write(
      send,
      encodeRequestFrame(4, 1n, { type: 'hello', contract, clientName: 'bench', principalId }),
    );
    await answer();
    const order = Buffer.from(JSON.stringify(what));
    const body = new Writer(order.length + 10).bytes(order).finish();
    await arrays.write(send, encodeRequestFrame(4, 2n, { type: 'other', index: INVOKE_SERVICE, body }));
    await answer();
    const ms = await timed(async () => {
      let left = what.way === 'down' ? what.bytes - reader.rest().length : what.bytes;
      const piece = noiseOf(PIECE);
      while (left > 0 && what.way === 'up') {
        await arrays.write(send, left < PIECE ? piece.subarray(0, left) : piece);
        left -= PIECE;
      }
      while (left > 0) left -= (await readRaw(recv))?.length ?? left;
      if (what.way === 'up') await readRaw(recv);
    });
    await send.finish();
    while ((await readRaw(recv)) !== undefined);
    return what.bytes / MB / (ms / 1000);
  }
}

const CEILING: Goal = { text: ">= 0.95 of the binding's ceiling", met: ({ ratio }) => ratio.median >= 0.95 };
const TEXT: Goal = { text: '>= 5 times the ceiling', met: ({ ratio }) => ratio.median >= 5 };

const NAMES: Readonly<Record<Kind, string>> = {
  noise: 'bulk',
  text: 'terminal text, a build',
  listing: 'terminal text, a listing',
};

async function compareWithBinding(bench: Bench, way: 'up' | 'down', kind: Kind): Promise<void> {
  const far = bench.own('bulk server', await startBulkFar());
  const gatewayOf = async (compression: 'none' | 'zstd'): Promise<Gateway> => {
    const iroh = { relays: 'disabled', compression } as const;
    const embedded = bench.own('gateway', await launchEmbedded({ socketPath: far.path, iroh }));
    if (embedded.iroh === undefined) throw new Error('the embedded gateway has no iroh address');
    return embedded.iroh;
  };
  const plain = await gatewayOf('none');
  const compression = kind === 'noise' ? 'none' : 'zstd';
  const ours = kind === 'noise' ? plain : await gatewayOf('zstd');
  const daemon = bench.own(
    'daemon',
    await startBmuxd({
      usualLog: true,
      config: `[connections.targets.far]\ntransport = "iroh"\nendpoint_id = "${ours.endpointId}"\niroh_ip_addr = "${ours.address}"\n`,
      settings: `${SETTINGS}[targets.far]\ncompression = '${compression}'\n`,
    }),
  );
  const bare = bench.own('bare binding', await Bare.to(plain));
  const bytes = bench.amount(16, 2) * 1024 * 1024;
  const what: Order = { way, bytes, kind };
  const through = kind === 'noise' ? 'broker' : 'broker, zstd';
  await bench.compare(
    `iroh ${NAMES[kind]} ${way}`,
    'MB/s',
    bench.count(15, 2),
    [
      { name: through, once: () => moveThroughBroker(daemon, 'far', what) },
      // The binding moves any bytes at the same speed, so it is measured with noise.
      { name: 'the binding alone', once: () => bare.move({ ...what, kind: 'noise' }) },
    ],
    { goals: { 'the binding alone': kind === 'noise' ? CEILING : TEXT } },
  );
}

export const irohBulk: Measure = {
  name: 'iroh-bulk',
  about: "bytes per second over iroh beside the binding's own ceiling; terminal text with zstd",
  run: async (bench) => {
    for (const kind of ['noise', 'text', 'listing'] as const)
      for (const way of bench.quick ? (['down'] as const) : (['up', 'down'] as const))
        await bench.part(`iroh ${NAMES[kind]} ${way}`, () => compareWithBinding(bench, way, kind));
  },
};
