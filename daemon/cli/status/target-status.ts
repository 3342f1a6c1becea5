// `bmuxd status TARGET`: what bmuxd knows of one target. Exit status 1 when its server fails.
import { SCHEMA, type Status, type TargetRow, type UpstreamRow } from '../../api/answers.ts';
import { isStatus, isTargetList } from '../../api/answer-shapes.ts';
import { whitelisted } from '../../api/caller-env.ts';
import { asciiJson } from '../../api/header.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { LIMITS } from '../../base/limits.ts';
import { fail } from '../../errors/fail.ts';
import { askControl } from '../ask-control.ts';
import type { CommandContext } from '../command.ts';
import { wrapped } from '../help/columns.ts';
import { ago, roomOf, shortened } from '../table.ts';

export async function targetStatus(target: string, context: CommandContext): Promise<number> {
  const { cwd, out, options } = context;
  const alone = ['wait', 'watch'].find((name) => options[name] !== undefined);
  if (alone !== undefined)
    throw fail('usage', { why: `bmuxd status: --${alone} takes no TARGET`, command: 'bmuxd status' });
  const { row, upstream } = await askAbout(target, { cwd, env: withoutTargetSocket(context.env) });
  if (options['json'] === true) {
    const answer = { schema: SCHEMA, target: row, ...(upstream === undefined ? {} : { upstream }) };
    out(`${JSON.stringify(answer, null, 2)}\n`);
  } else out(rendered(row, upstream, roomOf(context.stdout)));
  return upstream?.state === 'failing' ? 1 : 0;
}

/** The target, and what the engines know of its server; nothing when it was not asked for. Rejects when there is no such target. */
export async function askAbout(target: string, { cwd, env }: Pick<CommandContext, 'cwd' | 'env'>) {
  const list = {
    method: 'GET',
    path: '/v1/targets',
    headers: { 'bmux-request': asciiJson({ target, cwd, env: whitelisted(env) }) },
    timeoutMs: LIMITS.prepareMs + 2 * LIMITS.silenceMs,
  } as const;
  const [row] = (await askControl(env, list, isTargetList)).targets;
  if (row === undefined) throw fail('internal', { why: 'the daemon names no target' });
  const question = { method: 'GET', path: '/v1/status', timeoutMs: LIMITS.statusMs } as const;
  return { row, upstream: upstreamOf(row, await askControl(env, question, isStatus)) };
}

/** Draining engines may have rows of the same target; the one with the newest stream counts. Other targets may lead to its server, too. */
function upstreamOf({ address, name }: TargetRow, { upstreams }: Status): UpstreamRow | undefined {
  const rows = upstreams.filter((row) => row.address === address);
  const [own] = rows
    .filter(({ target }) => target === name)
    .sort((left, right) => (right.lastStreamMs ?? 0) - (left.lastStreamMs ?? 0));
  if (own === undefined) return undefined;
  const sum = (count: 'spares' | 'connections'): number => rows.reduce((all, row) => all + row[count], 0);
  return { ...own, spares: sum('spares'), connections: sum('connections') };
}

function rendered(target: TargetRow, upstream: UpstreamRow | undefined, room: number): string {
  const rows: [string, string][] = [
    ['address', shortened(target.address, 200)],
    ['state', upstream === undefined ? 'cold: not asked for recently' : stateText(upstream)],
  ];
  if (upstream !== undefined) {
    const { epoch, compression, roundTripMs, warmSinceMs, lastStreamMs, lastError } = upstream;
    if (epoch !== undefined) rows.push(['epoch', String(epoch)]);
    if (compression !== undefined) rows.push(['compression', compression]);
    if (roundTripMs !== undefined) rows.push(['round trip', `${String(roundTripMs)} ms`]);
    if (warmSinceMs !== undefined) rows.push(['warm for', ago(warmSinceMs)]);
    rows.push(
      ['spares', String(upstream.spares)],
      ['connections', String(upstream.connections)],
      ['streams', String(upstream.streams)],
    );
    if (lastStreamMs !== undefined) rows.push(['last stream', `${ago(lastStreamMs)} ago`]);
    if (lastError !== undefined) {
      rows.push(['last error', `${ago(lastError.atMs)} ago: [${lastError.code}]`]);
      rows.push(['', shortened(lastError.detail.split('\n', 1)[0] ?? '', 200)]);
    }
  }
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.flatMap(([name, value]) =>
    wrapped(value, room - width - 4).map(
      (line, index) => `  ${(index === 0 ? name : '').padEnd(width)}  ${line}`,
    ),
  );
  return `${shortened(target.name)} (${target.transport})\n${lines.join('\n')}\n`;
}

function stateText({ state, failingSinceMs }: UpstreamRow): string {
  return failingSinceMs === undefined ? state : `failing for ${ago(failingSinceMs)}`;
}
