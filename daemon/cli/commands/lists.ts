// `bmuxd streams` and `bmuxd targets`: list the live streams and the targets.
import { isStreamList, isTargetList } from '../../api/answer-shapes.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { whitelisted } from '../../api/caller-env.ts';
import { anything } from '../../api/shape.ts';
import { asciiJson } from '../../api/header.ts';
import { LIMITS } from '../../base/limits.ts';
import { askControl } from '../ask-control.ts';
import type { Run } from '../command.ts';
import { ago, bytes, firstLine, roomOf, shortened, table, type Column } from '../table.ts';

const STREAM_COLUMNS: readonly Column[] = [
  'ID',
  'TARGET',
  { name: 'TRANSPORT', drops: 1 },
  'STATE',
  { name: 'CLIENT', drops: 4 },
  { name: 'PID', drops: 3 },
  { name: 'AGE', drops: 2 },
  { name: 'UP', drops: 5 },
  { name: 'DOWN', drops: 6 },
];
const TARGET_COLUMNS: readonly Column[] = ['  NAME', { name: 'TRANSPORT', drops: 1, late: true }, 'ADDRESS'];

export const streams: Run = async ({ env, out, err, options, args, stdout }) => {
  if (args[0] === 'end' && args[1] !== undefined) {
    const path = `/v1/streams/${encodeURIComponent(args[1])}`;
    await askControl(env, { method: 'DELETE', path, timeoutMs: 2 * LIMITS.engineAnswerMs }, anything);
    return 0;
  }
  const question = { method: 'GET', path: '/v1/streams', timeoutMs: 2 * LIMITS.engineAnswerMs } as const;
  const list = await askControl(env, question, isStreamList);
  if (options['json'] === true) {
    out(`${JSON.stringify(list, null, 2)}\n`);
    return 0;
  }
  // Of a request without a plan, no target is known.
  const planning = (list.planning ?? []).map(({ clientPid, sinceMs }) => [
    '-',
    '-',
    '-',
    `planning ${ago(sinceMs)}`,
    '-',
    String(clientPid ?? '-'),
    ago(sinceMs),
    '-',
    '-',
  ]);
  const rows = list.streams.map((row) => [
    row.id,
    shortened(row.target),
    row.transport,
    row.waiting === undefined ? row.state : `${row.waiting.step} ${ago(row.waiting.sinceMs)}`,
    shortened(row.clientName),
    String(row.clientPid ?? '-'),
    ago(row.sinceMs),
    bytes(row.bytesUp),
    bytes(row.bytesDown),
  ]);
  rows.push(...planning);
  out(rows.length === 0 ? 'no streams\n' : `${table(STREAM_COLUMNS, rows, roomOf(stdout)).join('\n')}\n`);
  for (const generation of list.silent)
    err(`engine ${generation} does not answer: its streams are not in the list\n`);
  for (const generation of list.otherVersion ?? [])
    err(`engine ${generation} is of another version: its streams are not in the list\n`);
  return 0;
};

export const targets: Run = async ({ env, cwd, out, options, stdout }) => {
  const before = withoutTargetSocket(env);
  const question = {
    method: 'GET',
    path: '/v1/targets',
    headers: { 'Bmux-Request': asciiJson({ cwd, env: whitelisted(before) }) },
    timeoutMs: 2 * LIMITS.prepareMs,
  } as const;
  const list = await askControl(env, question, isTargetList);
  if (options['json'] === true) {
    out(`${JSON.stringify(list, null, 2)}\n`);
    return 0;
  }
  const rows = list.targets.map((row) => [
    `${row.isDefault ? '*' : ' '} ${shortened(row.name)}`,
    row.transport,
    row.failure === undefined ? shortened(row.address) : `! ${firstLine(row.failure.detail)}`,
  ]);
  out(`${table(TARGET_COLUMNS, rows, roomOf(stdout)).join('\n')}\n`);
  return 0;
};
