// Compares how the real bmux and bmuxd verify chains of certificates: `node dist/test/transport/tls/chains/compare.js [WORD]`. It prints one
// row for each chain, and fails when bmuxd accepts a chain that the real program refuses.
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemRoots } from '../../../../daemon/transport/tls/certificates/roots.ts';
import { TlsContexts } from '../../../../daemon/transport/tls/tls.ts';
import { realBmux, run } from '../../../real/index.ts';
import { chainCases, type ChainCase } from './cases.ts';
import { gatewayOf, ownOutcome, type Gateway, type Outcome } from './gateway.ts';

interface Row {
  readonly name: string;
  /** Undefined without a real bmux. */
  readonly real: Outcome | undefined;
  readonly own: Outcome;
}

/** Compares the cases whose name contains `word`; `each` is called with every row. */
async function compareChains(word: string, each: (row: Row) => void): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'chains-'));
  try {
    const program = realBmux();
    const empty = join(folder, 'no-roots.pem');
    await writeFile(empty, '');
    const roots = new SystemRoots({ env: { SSL_CERT_FILE: empty } });
    const contexts = new TlsContexts({ roots });
    for (const [index, one] of chainCases().entries()) {
      if (!one.name.includes(word)) continue;
      const caFile = join(folder, `${String(index)}.pem`);
      await writeFile(caFile, one.anchors.map(({ pem }) => pem).join(''));
      const gateway = await gatewayOf(one);
      try {
        const own = await ownOutcome(contexts, one, gateway, caFile);
        const place = join(folder, String(index));
        const real =
          program === undefined
            ? undefined
            : await realOutcome(program, one, gateway, { place, caFile, SSL_CERT_FILE: empty });
        each({ name: one.name, real, own });
      } finally {
        gateway.close();
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function realOutcome(
  program: string,
  one: ChainCase,
  gateway: Gateway,
  paths: { readonly place: string; readonly caFile: string; readonly SSL_CERT_FILE: string },
): Promise<Outcome> {
  const { place, caFile, SSL_CERT_FILE } = paths;
  await mkdir(place, { recursive: true });
  const target = `[connections.targets.gw]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(gateway.port)}\n`;
  const more = `server_name = ${JSON.stringify(one.serverName ?? 'gateway.test')}\nca_file = ${JSON.stringify(caFile)}\n`;
  await writeFile(join(place, 'bmux.toml'), target + more);
  const env: Record<string, string> = { PATH: process.env['PATH'] ?? '', HOME: place, SSL_CERT_FILE };
  for (const kind of ['RUNTIME', 'CONFIG', 'DATA', 'STATE']) env[`BMUX_${kind}_DIR`] = place;
  const before = gateway.accepted();
  const { stdout, stderr } = await run(program, ['--target', 'gw', 'list-sessions'], env);
  return { accepted: gateway.accepted() > before, text: causeIn(stdout + stderr) };
}

/** The last line of the error, without colours and without the log. */
function causeIn(output: string): string {
  // oxlint-disable-next-line no-control-regex
  const lines = output.replace(/\u001b\[[0-9;]*m/g, '').split('\n');
  return (
    lines
      .filter((line) => line.trim() !== '' && !/ (?:INFO|WARN) /.test(line))
      .at(-1)
      ?.trim() ?? ''
  );
}

const word = (outcome: Outcome | undefined): string =>
  outcome === undefined ? '-' : outcome.accepted ? 'accepts' : 'refuses';

if (process.argv[1]?.endsWith('compare.js') === true) {
  let wrong = 0;
  await compareChains(process.argv[2] ?? '', ({ name, real, own }) => {
    const worse = real?.accepted === false && own.accepted;
    if (worse) wrong += 1;
    const sign = worse ? '!!' : real !== undefined && real.accepted !== own.accepted ? '! ' : '  ';
    process.stdout.write(`${sign} ${name.padEnd(58)} bmux ${word(real)}, bmuxd ${word(own)}\n`);
    if (real?.accepted === false) process.stdout.write(`     bmux:  ${real.text}\n`);
    if (!own.accepted) process.stdout.write(`     bmuxd: ${own.text}\n`);
  });
  process.exitCode = wrong > 0 ? 1 : 0;
}
