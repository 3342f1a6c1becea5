// `bmuxd trust`: the pins of TLS gateways that no certificate authority verifies (docs/bmux-protocol.md, "Certificate pins").
import { createInterface } from 'node:readline/promises';
import type { X509Certificate } from 'node:crypto';
import { SCHEMA } from '../../api/answers.ts';
import { whitelisted } from '../../api/caller-env.ts';
import { meant } from '../../errors/nearest.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import { bmuxPaths } from '../../base/paths.ts';
import { Failure } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import type { BmuxConfig } from '../../config/bmux/types.ts';
import { advised, fail } from '../../errors/fail.ts';
import { withoutBrackets } from '../../target/addresses.ts';
import { gatewayKey } from '../../target/tls-trust.ts';
import type { CommandContext, Run } from '../command.ts';
import { cut, displayWidth, roomOf, table } from '../table.ts';

export const trust: Run = async (context) => {
  const [action, gateway = ''] = context.args;
  if (action === 'add') return add(context, gateway);
  if (action === 'remove') return remove(context, gateway);
  return list(context);
};

interface Gateway {
  readonly host: string;
  readonly port: number;
  readonly key: string;
  /** The name that the gateway is asked for: that of the target where there is one. */
  readonly serverName: string;
}

/** A TLS target's name, or `[tls://]HOST[:PORT]` as `bmux remote trust add` takes it. A host of one word needs its port. */
function gatewayIn(given: string, { targets }: BmuxConfig['connections']): Gateway {
  const text = given.trim();
  const target = targets.get(text);
  if (target?.transport === 'tls' && target.host !== undefined) {
    const host = withoutBrackets(target.host);
    const port = target.port ?? 443;
    return { host, port, key: gatewayKey(host, port), serverName: target.serverName ?? host };
  }
  if (target?.transport === 'ssh') throw fail('trust_of_ssh', { name: text });
  if (/^[\w-]+$/.test(text) && text !== 'localhost') {
    const names = [...targets].flatMap(([name, { transport }]) => (transport === 'tls' ? [name] : []));
    const unknown = fail('target_unknown', { name: text, near: meant(text, names) });
    throw advised(unknown, 'Write HOST:PORT, or the name of a TLS target of `bmuxd targets`.');
  }
  const written = text.replace(/^(?:tls|https):\/\//i, '').replace(/\/$/, '');
  const [, v6, name, digits] = /^(?:\[([^\]]+)\]|(.+?))(?::(\d{1,5}))?$/.exec(written) ?? [];
  const host = (v6 ?? name ?? '').trim();
  const port = digits === undefined ? 443 : Number(digits);
  // A path, a query, a user or another scheme would be looked up as a name.
  if (host === '' || port > 0xffff || /[\s/?#@[\]]/.test(host) || (v6 === undefined && host.includes(':')))
    throw usage(`'${text}' is not HOST:PORT; an IPv6 address stands in brackets`);
  const key = gatewayKey(host, port);
  const known = [...targets.values()].find(
    (one) => one.transport === 'tls' && gatewayKey(withoutBrackets(one.host ?? ''), one.port ?? 443) === key,
  );
  return { host, port, key, serverName: known?.serverName ?? host };
}

/** The config of this environment, with its store of known gateways. */
async function trustOf({ env, cwd }: CommandContext) {
  const { ConfigSource } = await import('../../config/bmux/source.ts');
  const caller = whitelisted(withoutTargetSocket(env));
  const paths = bmuxPaths(caller, process.platform, cwd);
  const { knownGatewaysFile } = await import('../../config/bmux/known-gateways.ts');
  const { SteadyFiles } = await import('../../config/files/steady-files.ts');
  const { ConfigFiles } = await import('../../config/bmux/config-files.ts');
  const steady = new SteadyFiles(SYSTEM_CLOCK);
  const files = new ConfigFiles(steady);
  try {
    const { config } = await new ConfigSource({ env: caller, paths, files, cwd, daemon: env }).current();
    const { connections } = config;
    return { store: knownGatewaysFile(paths), trust: connections.tlsTrust, connections };
  } finally {
    steady.close();
  }
}

async function list(context: CommandContext): Promise<number> {
  const { trust: known } = await trustOf(context);
  if (known?.store.problem !== undefined) throw known.store.problem;
  const declared = [...(known?.declared ?? [])];
  const stored = [...(known?.store.pins ?? []), ...(known?.store.blank ?? [])];
  const rows = [
    ...declared.map(([key, pin]) => [key, pin.fingerprint, 'config', pin.label ?? '']),
    ...stored
      .filter(([key]) => known?.declared.has(key) !== true)
      .map(([key, pin]) => [key, pin.fingerprint, 'store', pin.label ?? '']),
  ].sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
  const mode = known?.mode ?? 'prompt';
  if (context.options['json'] === true) {
    const gateways = rows.map(([gateway, fingerprint, from, label]) => ({
      gateway,
      fingerprint,
      from,
      label,
    }));
    context.out(`${JSON.stringify({ schema: SCHEMA, mode, gateways }, null, 2)}\n`);
    return 0;
  }
  context.out(`mode: ${mode}\n`);
  context.out(rows.length === 0 ? 'no gateways are trusted\n' : listOf(rows, roomOf(context.stdout)));
  return 0;
}

/** A table, or two lines for each gateway where that is too wide: a fingerprint is never cut. */
function listOf(rows: readonly (readonly string[])[], room: number): string {
  const wide = table(['GATEWAY', 'FINGERPRINT', 'FROM', 'LABEL'], rows);
  const fits = wide.every((line) => displayWidth(line) <= room);
  const narrow = rows.flatMap(([gateway = '', fingerprint = '', ...rest]) => [
    cut([gateway, ...rest].join('  ').trimEnd(), room),
    `  ${fingerprint}`,
  ]);
  return `${(fits ? wide : narrow).join('\n')}\n`;
}

async function add(context: CommandContext, written: string): Promise<number> {
  const { options, out } = context;
  const { addKnownGateway, comparable } = await import('../../config/bmux/known-gateways.ts');
  const { fingerprintOf } = await import('../../transport/tls/pins.ts');
  const { store, trust: known, connections } = await trustOf(context);
  const gateway = gatewayIn(written, connections);
  const { key } = gateway;
  // The pin would be stored, and not used.
  if (known?.store.problem !== undefined) throw known.store.problem;
  const wanted = options['fingerprint'];
  if (typeof wanted === 'string' && !/^\s*sha256:[\da-f]+\s*$/i.test(wanted))
    throw usage(`'${wanted}' is no fingerprint: it is SHA256: and 64 hexadecimal digits`);
  const certificate = await presentedBy(gateway);
  const fingerprint = fingerprintOf(certificate);
  const names = certificate.subjectAltName ?? 'none';
  out(`The TLS gateway at ${key} presents:\n`);
  out(`  subject      ${certificate.subject.replaceAll('\n', ', ')}\n  names        ${names}\n`);
  out(
    `  valid        from ${certificate.validFrom} to ${certificate.validTo}\n  fingerprint  ${fingerprint}\n`,
  );
  const before = known?.store.pins.get(key)?.fingerprint;
  if (before !== undefined && comparable(before) !== comparable(fingerprint))
    out(`  ANOTHER certificate is trusted for this gateway until now: ${before}\n`);
  if (typeof wanted === 'string' && comparable(wanted) !== comparable(fingerprint))
    throw fail('fingerprint_differs', { key, expected: wanted.trim(), received: fingerprint });
  const declared = known?.declared.get(key);
  if (declared !== undefined && comparable(declared.fingerprint) !== comparable(fingerprint))
    throw fail('pin_declared', { key, pin: declared.fingerprint });
  if (wanted === undefined && options['yes'] !== true) await confirm(context, key);
  await addKnownGateway(
    store,
    key,
    { fingerprint, serverName: gateway.serverName, label: `tls://${key}`, trustedAtMs: Date.now() },
    true,
  );
  out(`trusted TLS gateway ${key}: ${fingerprint}\n`);
  return 0;
}

async function remove(context: CommandContext, written: string): Promise<number> {
  const { removeKnownGateway } = await import('../../config/bmux/known-gateways.ts');
  const { store, trust: known, connections } = await trustOf(context);
  const { key } = gatewayIn(written, connections);
  if (!(await removeKnownGateway(store, key)))
    throw fail('pin_unknown', { key, near: meant(key, known?.store.pins.keys() ?? []) });
  context.out(`removed local TLS trust pin for ${key}\n`);
  return 0;
}

/** Asks on the terminal, and fails for any answer but yes. */
async function confirm({ stderr }: CommandContext, key: string): Promise<void> {
  if (!process.stdin.isTTY || !stderr.isTTY) throw fail('trust_unasked', { key });
  const terminal = createInterface({ input: process.stdin, output: stderr });
  const ended = new AbortController();
  terminal.once('close', () => ended.abort());
  try {
    const question = terminal.question('Trust this gateway and remember it? [y/N] ', {
      signal: ended.signal,
    });
    // The end of the input is no answer, and so a no.
    const answer = await question.catch(() => '');
    if (!['y', 'yes'].includes(answer.trim().toLowerCase())) throw fail('trust_declined', { key });
  } finally {
    terminal.close();
  }
}

/** The certificate that the gateway presents, verified or not. */
async function presentedBy({ host, port, key, serverName }: Gateway): Promise<X509Certificate> {
  const { connect } = await import('node:tls');
  const { Deadline } = await import('../../base/async/deadline.ts');
  const { established } = await import('../../transport/dialling.ts');
  const { endGracefully } = await import('../../transport/end.ts');
  const { isServerName, sniOf } = await import('../../transport/tls/server-name.ts');
  const { handshakeFailure } = await import('../../transport/tls/alert.ts');
  const label = `tls://${key}`;
  const socket = connect({
    host,
    port,
    servername: isServerName(serverName) ? sniOf(serverName) : '',
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    minVersion: 'TLSv1.2',
  });
  const limits = { deadline: new Deadline(LIMITS.prepareMs), signal: new AbortController().signal };
  let isConnected = false;
  socket.once('connect', () => (isConnected = true));
  try {
    await established(socket, 'secureConnect', limits, () =>
      fail(isConnected ? 'tls_handshake_timeout' : 'tls_connect_timeout', { label }),
    );
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw isConnected ? handshakeFailure(label, error) : fail('tls_unreachable', { label }, error);
  }
  const certificate = socket.getPeerX509Certificate();
  await endGracefully(socket, LIMITS.silenceMs);
  if (certificate === undefined) throw fail('tls_handshake_failed', { label });
  return certificate;
}

function usage(why: string) {
  return fail('usage', { why: `bmuxd trust: ${why}`, command: 'bmuxd trust' });
}
