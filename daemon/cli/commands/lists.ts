// `bmuxd streams` and `bmuxd targets`: what is open, and where one can go.
import type { StreamList, TargetList } from '../../api/answers.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { whitelisted } from '../../api/caller-env.ts';
import { fail } from '../../errors/fail.ts';
import { asciiJson } from '../../api/header.ts';
import { LIMITS } from '../../base/limits.ts';
import { askControl } from '../ask-control.ts';
import type { Command } from '../command.ts';
import { ago, bytes, firstLine, shortened, table } from '../table.ts';

const json = { json: { type: 'boolean', about: 'print the answer as JSON' } } as const;

export const streams: Command = {
  name: 'streams',
  args: '[end ID]',
  about: 'list the live streams, of every engine; `end ID` ends one gracefully',
  options: json,
  maxArgs: 2,
  run: async ({ env, out, err, options, args }) => {
    if (args[0] === 'end' && args[1] !== undefined) {
      await askControl(
        env,
        'DELETE',
        `/v1/streams/${encodeURIComponent(args[1])}`,
        2 * LIMITS.engineAnswerMs,
      );
      return 0;
    }
    if (args.length > 0) {
      throw fail('usage', {
        why: 'bmuxd streams: write `bmuxd streams` or `bmuxd streams end ID`',
        command: 'bmuxd streams',
      });
    }
    // The daemon's own answer: its shape is that of daemon/api/answers.ts.
    const list = (await askControl(env, 'GET', '/v1/streams', 2 * LIMITS.engineAnswerMs)) as StreamList;
    if (options['json'] === true) {
      out(`${JSON.stringify(list, null, 2)}\n`);
      return 0;
    }
    const rows = list.streams.map((row) => [
      row.id,
      shortened(row.target),
      row.transport,
      row.state,
      shortened(row.clientName),
      ago(row.sinceMs),
      bytes(row.bytesUp),
      bytes(row.bytesDown),
    ]);
    out(
      rows.length === 0
        ? 'no streams\n'
        : `${table(['ID', 'TARGET', 'TRANSPORT', 'STATE', 'CLIENT', 'AGE', 'UP', 'DOWN'], rows).join('\n')}\n`,
    );
    for (const generation of list.silent)
      err(`engine ${generation} does not answer: its streams are not in the list\n`);
    return 0;
  },
};

export const targets: Command = {
  name: 'targets',
  args: '',
  about: 'list the targets that a command with this environment has',
  options: json,
  maxArgs: 0,
  run: async ({ env, cwd, out, options }) => {
    const before = withoutTargetSocket(env);
    // The daemon's own answer: its shape is that of daemon/api/answers.ts.
    const list = (await askControl(env, 'GET', '/v1/targets', 2 * LIMITS.prepareMs, {
      'Bmux-Request': asciiJson({ cwd, env: whitelisted(before) }),
    })) as TargetList;
    if (options['json'] === true) {
      out(`${JSON.stringify(list, null, 2)}\n`);
      return 0;
    }
    const rows = list.targets.map((row) => [
      `${row.isDefault ? '*' : ' '} ${shortened(row.name)}`,
      row.transport,
      row.failure === undefined ? shortened(row.address) : `! ${firstLine(row.failure.detail)}`,
    ]);
    out(`${table(['  NAME', 'TRANSPORT', 'ADDRESS'], rows).join('\n')}\n`);
    return 0;
  },
};
