// `bmuxd meta write|remove`: writes or removes server-meta.json for a server launcher (docs/bmux-protocol.md, "Server metadata").
import { resolve } from 'node:path';
import { bmuxPaths } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';
import { whitelisted } from '../../api/caller-env.ts';
import type { CommandContext, Run } from '../command.ts';

export const meta: Run = async (context) => {
  const { env, args } = context;
  if (args[0] === 'write') await write(context);
  else {
    const { removeServerMeta } = await import('../../policy/server-meta.ts');
    await removeServerMeta({ env });
  }
  return 0;
};

async function write({ env, cwd, options, err }: CommandContext): Promise<void> {
  const { pid, version, executable } = options;
  if (typeof pid !== 'string' || !/^[1-9]\d{0,9}$/.test(pid) || Number(pid) > 0xffff_ffff)
    throw usage('--pid: a process id is needed');
  if (typeof version !== 'string' || version === '')
    throw usage('--version: the version of the server is needed');
  if (typeof executable !== 'string' || executable === '')
    throw usage('--executable: the path of the server is needed');
  const { activeSlot } = await import('../../config/bmux/slots.ts');
  const { writeServerMeta } = await import('../../policy/server-meta.ts');
  const caller = whitelisted(env);
  const { slot, warnings } = await activeSlot({
    env: caller,
    paths: bmuxPaths(caller, process.platform, cwd),
    cwd,
  });
  for (const warning of warnings) err(`bmuxd: ${warning}\n`);
  await writeServerMeta({
    env,
    pid: Number(pid),
    version,
    executablePath: resolve(cwd, executable),
    slotName: slot?.name,
  });
}

function usage(why: string) {
  return fail('usage', { why: `bmuxd meta: ${why}`, command: 'bmuxd meta' });
}
