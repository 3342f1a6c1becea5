// Tells control what has happened in the engine, that it is ready, and regularly that it works, with its status. Control need not ask: that would
// wake up both processes twice.
import { ROUTINE_EVENTS, type EngineStatus } from '../api/answers.ts';
import { SYSTEM_CLOCK, type Clock } from '../base/async/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { ControlLink } from './control/control-link.ts';
import type { UpstreamsOptions } from './upstream/upstreams.ts';

export interface EventsOptions {
  readonly log: Logger;
  readonly sink: { readonly flush: () => void };
  readonly control: Pick<ControlLink, 'tell'>;
}

export function tellEvents({ log, sink, control }: EventsOptions): UpstreamsOptions['event'] {
  return (happened) => {
    const { type, target, code, detail } = happened;
    if (type === 'connection lost') log.info({ target, why: detail }, 'connection lost');
    if (type === 'trust changed')
      log.warn({ code, detail }, 'streams of a gateway whose pin has changed go on');
    // The log lines about an event are sent before it: a user who was refused may read the log right away.
    if (!ROUTINE_EVENTS.has(type)) sink.flush();
    control.tell({ type: 'event', event: { ...happened, atMs: Date.now() } });
  };
}

/** Runs until control is gone, and does not keep the process alive. */
export function tellStatus(
  control: Pick<ControlLink, 'tell'>,
  generation: string,
  news: () => EngineStatus,
  clock: Clock = SYSTEM_CLOCK,
): void {
  control.tell({ type: 'ready', generation });
  let isUnread = false;
  let told = '';
  const stop = clock.every(LIMITS.heartbeatMs, () => {
    // A control process that is stopped would find one for every two seconds.
    if (isUnread) return;
    isUnread = true;
    const status = news();
    const text = JSON.stringify(status);
    const sent = control.tell({ type: 'alive', ...(text === told ? {} : { status }) }, () => {
      isUnread = false;
    });
    told = text;
    if (!sent) stop();
  });
}
