// Engines that hang, and have been replaced. They are kept for the streams that they have, as they may go on; but not without a bound.
import type { Logger } from '../../../base/log.ts';
import type { EngineHealth } from '../engine-health.ts';
import type { EngineLink } from '../engine-link.ts';

/** Each is a process of about 50 MB, and may occupy a CPU. */
const MAX_HANGING = 4;

export interface Hanging {
  readonly link: Pick<EngineLink, 'generation' | 'kill'>;
  readonly health: Pick<EngineHealth, 'isHanging' | 'streams'>;
}

/** Ends those that are too many: first those that had no streams, the oldest first. `engines`: the oldest first. */
export function endHanging(engines: Iterable<Hanging>, log: Pick<Logger, 'warn'>): void {
  const hanging = [...engines].filter(({ health }) => health.isHanging);
  const idleFirst = [
    ...hanging.filter(({ health }) => health.streams === 0),
    ...hanging.filter(({ health }) => health.streams > 0),
  ];
  for (const { link, health } of idleFirst.slice(0, Math.max(0, hanging.length - MAX_HANGING))) {
    const { generation } = link;
    log.warn(
      { generation, streams: health.streams, limit: MAX_HANGING },
      'too many engines hang: one is ended',
    );
    link.kill();
  }
}
