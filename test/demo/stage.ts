// The demo's stage: folders, servers and daemon, in its own process and session, which a Ctrl-C does not reach. It removes everything in order
// when the channel to its parent closes, however the parent ended.
import { join } from 'node:path';
import { makeSandbox } from '../daemon/bmuxd.ts';
import { startBroker, type Broker } from './broker.ts';
import { startServers, type DemoTarget, type Servers } from './servers.ts';

/** What the parent needs. */
export interface Scene {
  readonly folder: string;
  /** Environment of the daemon and of its clients. */
  readonly env: Readonly<Record<string, string>>;
  readonly envFile: string;
  readonly logFile: string;
  readonly targets: readonly Pick<DemoTarget, 'name' | 'way'>[];
  /** What was left out, and why. */
  readonly skipped: readonly string[];
}

/** The only message to the parent. */
export type FromStage =
  | { readonly type: 'ready'; readonly scene: Scene }
  | { readonly type: 'failed'; readonly why: string };

const parentGone = new Promise<void>((resolve) => {
  process.once('disconnect', () => {
    resolve();
  });
});
const tell = (message: FromStage): void => {
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
};

const sandbox = await makeSandbox();
let servers: Servers | undefined;
let broker: Broker | undefined;
try {
  const socketPath = join(sandbox.env['BMUX_RUNTIME_DIR'] ?? sandbox.folder, 'server.sock');
  servers = await startServers({ socketPath, folder: sandbox.folder });
  const tables = servers.targets.map(({ name, toml }) =>
    toml === undefined ? '' : `[connections.targets.${name}]\n${toml}\n`,
  );
  await sandbox.configure('bmux.toml', tables.join(''));
  broker = await startBroker(sandbox, servers.settings);
  tell({
    type: 'ready',
    scene: {
      folder: sandbox.folder,
      env: sandbox.env,
      envFile: broker.envFile,
      logFile: broker.logFile,
      targets: servers.targets,
      skipped: servers.skipped,
    },
  });
  await parentGone;
} catch (error) {
  tell({ type: 'failed', why: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
} finally {
  await broker?.stop();
  await servers?.stop();
  await sandbox.remove();
}
if (process.connected) process.disconnect();
