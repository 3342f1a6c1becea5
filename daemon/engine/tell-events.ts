// Tells control what has happened in the engine.
import { ROUTINE_EVENTS } from '../api/answers.ts';
import type { Logger } from '../base/log.ts';
import type { ControlLink } from './control-link.ts';
import type { UpstreamsOptions } from './upstream/upstreams.ts';

export interface EventsOptions {
  readonly log: Logger;
  readonly sink: { readonly flush: () => void };
  readonly control: Pick<ControlLink, 'tell'>;
}

export function tellEvents({ log, sink, control }: EventsOptions): UpstreamsOptions['event'] {
  return (happened) => {
    const { type, target, detail } = happened;
    if (type === 'connection lost') log.info({ target, why: detail }, 'connection lost');
    // The log lines about an event are sent before it: a user who was refused may read the log right away.
    if (!ROUTINE_EVENTS.has(type)) sink.flush();
    control.tell({ type: 'event', event: { ...happened, atMs: Date.now() } });
  };
}
