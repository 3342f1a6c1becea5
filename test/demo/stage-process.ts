// Starts and ends the stage process.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { FromStage, Scene } from './stage.ts';

/** Time limit until everything runs, ms: 1 to 3 s on an idle machine, including the start of the relay. */
const READY_MS = 60_000;

export interface Stage {
  readonly scene: Scene;
  /** Ends streams, daemon and servers, and removes the folders. Calling twice is safe. */
  close(): Promise<void>;
}

/** Rejects with the error of the stage, or when `ended` aborts; everything is removed by then. */
export async function openStage(ended: AbortSignal): Promise<Stage> {
  const child = fork(fileURLToPath(new URL('stage.js', import.meta.url)), {
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
    child.once('error', () => {
      resolve();
    });
  });
  const close = async (): Promise<void> => {
    if (child.connected) child.disconnect();
    await exited;
  };
  const timeout = AbortSignal.any([ended, AbortSignal.timeout(READY_MS)]);
  try {
    const scene = await new Promise<Scene>((resolve, reject) => {
      child.once('message', (message) => {
        // Only our own stage process sends messages.
        const told = message as FromStage;
        if (told.type === 'ready') resolve(told.scene);
        else reject(new Error(told.why));
      });
      void exited.then(() => {
        reject(new Error('the demo could not be set up'));
      });
      const onAbort = (): void => {
        reject(new Error(ended.aborted ? 'ended' : 'the demo was not set up in time'));
      };
      timeout.addEventListener('abort', onAbort, { once: true });
      if (timeout.aborted) onAbort();
    });
    return { scene, close };
  } catch (error) {
    await close();
    throw error;
  }
}
